"""The outbox: in order, each entry once, newest progress only."""

from __future__ import annotations

from keruta_agent.agent.store.jobs import Work
from keruta_agent.agent.store.outbox import BATCH_BYTES, Kind, Lane
from keruta_agent.core.model import StatusReport, TaskStatus


def add_status(records, task_id: str, key: str) -> None:
    report = StatusReport(status=TaskStatus.COMPLETED)
    records.outbox.add_status(task_id, report, run_id=None, key=key)


def a_run(records) -> int:
    records.jobs.record_script("x", Work(script="true"))
    return records.runs.claim_next()[1].id


def add_ranges(records, run_id: int, sizes: list[int], first: int = 0) -> None:
    for number, size in enumerate(sizes, start=first):
        records.outbox.add_log_range("t", run_id, "uid", number, size)


def test_rows_of_a_task_leave_in_the_order_in_which_they_came(records):
    for number in range(3):
        add_status(records, "t", f"key-{number}")
    keys = []
    while (batch := records.outbox.take("t")) is not None:
        keys.append(batch.key)
        records.outbox.delivered(batch)
    assert keys == ["key-0", "key-1", "key-2"]


def test_same_key_is_queued_once(records):
    add_status(records, "t", "key")
    add_status(records, "t", "key")
    assert records.outbox.counts().pending == 1


def test_neighbouring_log_ranges_travel_together_up_to_a_size(records):
    run_id = a_run(records)
    add_ranges(records, run_id, [BATCH_BYTES // 2, BATCH_BYTES // 2, 1])
    batch = records.outbox.take("t")
    assert [entry.payload["sequence"] for entry in batch.entries] == [0, 1]


def test_range_larger_than_a_batch_travels_alone(records):
    run_id = a_run(records)
    add_ranges(records, run_id, [BATCH_BYTES * 2, 1])
    assert len(records.outbox.take("t").entries) == 1


def test_other_row_between_log_ranges_parts_them(records):
    run_id = a_run(records)
    add_ranges(records, run_id, [1])
    add_status(records, "t", "between")
    add_ranges(records, run_id, [1], first=1)
    assert len(records.outbox.take("t").entries) == 1


def test_batch_that_may_have_arrived_is_repeated_as_it_was(records):
    """New ranges must not join it: the server knows the request by its key."""
    run_id = a_run(records)
    add_ranges(records, run_id, [1, 1])
    first = records.outbox.take("t")
    add_ranges(records, run_id, [1], first=2)
    again = records.outbox.take("t")
    assert not first.may_have_arrived
    assert again.may_have_arrived
    assert again.key == first.key
    assert len(again.entries) == 2


def test_batch_that_cannot_have_arrived_is_free_to_grow(records):
    run_id = a_run(records)
    add_ranges(records, run_id, [1])
    records.outbox.release(records.outbox.take("t"))
    add_ranges(records, run_id, [1], first=1)
    batch = records.outbox.take("t")
    assert not batch.may_have_arrived
    assert len(batch.entries) == 2


def test_newest_progress_replaces_one_that_has_not_left(records):
    run_id = a_run(records)
    for percent in (10, 20, 30):
        records.outbox.put_progress("t", run_id, "uid", percent, f"at {percent}")
    batch = records.outbox.take("t")
    assert batch.first.payload == {"percent": 30, "message": "at 30"}
    assert records.outbox.counts().pending == 1


def test_progress_that_is_on_its_way_is_not_changed(records):
    run_id = a_run(records)
    records.outbox.put_progress("t", run_id, "uid", 10, "")
    on_its_way = records.outbox.take("t")
    records.outbox.put_progress("t", run_id, "uid", 20, "")
    assert records.outbox.take("t").first.payload["percent"] == 10
    records.outbox.delivered(on_its_way)
    following = records.outbox.take("t")
    assert following.first.payload["percent"] == 20
    assert following.key != on_its_way.key


def test_dead_letter_blocks_no_entry_and_stays_visible(records):
    add_status(records, "t", "refused")
    add_status(records, "t", "next")
    records.outbox.set_aside(records.outbox.take("t"), "no such task")
    assert records.outbox.take("t").key == "next"
    assert [(row.key, row.last_error) for row in records.outbox.dead_letters()] == [
        ("refused", "no such task")
    ]


def _take_all(records, lane: Lane) -> list[str]:
    keys = []
    while (batch := records.outbox.take("t", lane)) is not None:
        keys.append(batch.key)
        records.outbox.delivered(batch)
    return keys


def _add(records, kind: Kind, key: str) -> None:
    records.outbox.add(kind, "t", {}, run_id=None, key=key)


def test_file_is_passed_by_all_but_the_next_state(records):
    _add(records, Kind.STATUS, "started")
    _add(records, Kind.ARTIFACT, "file")
    _add(records, Kind.LOG_LINE, "line")
    _add(records, Kind.QUESTION, "question")
    _add(records, Kind.STATUS, "ended")
    _add(records, Kind.AUTO_FIX, "auto-fix")
    assert _take_all(records, Lane.REPORTS) == ["started", "line", "question"]
    assert records.outbox.next_due(Lane.REPORTS) is None
    assert records.outbox.tasks_due(0.0, Lane.REPORTS) == []
    assert _take_all(records, Lane.FILES) == ["file"]
    assert records.outbox.tasks_due(0.0, Lane.REPORTS) == ["t"]
    assert _take_all(records, Lane.REPORTS) == ["ended", "auto-fix"]


def test_file_waits_for_the_state_before_it_and_for_nothing_else(records):
    _add(records, Kind.STATUS, "ended")
    _add(records, Kind.LOG_LINE, "line")
    _add(records, Kind.ARTIFACT, "file of the next run")
    assert records.outbox.next_due(Lane.FILES) is None
    assert _take_all(records, Lane.FILES) == []
    records.outbox.delivered(records.outbox.take("t", Lane.REPORTS))
    assert _take_all(records, Lane.FILES) == ["file of the next run"]


def test_file_that_became_a_dead_letter_blocks_nothing(records):
    _add(records, Kind.ARTIFACT, "file")
    _add(records, Kind.STATUS, "ended")
    records.outbox.set_aside(records.outbox.take("t", Lane.FILES), "refused")
    assert _take_all(records, Lane.REPORTS) == ["ended"]


def test_state_of_one_task_does_not_wait_for_the_file_of_another(records):
    records.outbox.add(Kind.ARTIFACT, "other", {}, run_id=None, key="file")
    _add(records, Kind.STATUS, "ended")
    assert records.outbox.tasks_due(0.0, Lane.REPORTS) == ["t"]


def test_task_whose_first_row_has_to_wait_is_not_due(records):
    add_status(records, "early", "a")
    add_status(records, "late", "b")
    records.outbox.retry_later(records.outbox.take("early"), "broken", not_before=1000.0)
    assert records.outbox.tasks_due(now=999.0) == ["late"]
    assert records.outbox.tasks_due(now=1000.0) == ["early", "late"]
    assert records.outbox.next_due() == 0.0


def test_counts_say_how_much_waits_and_since_when(records):
    assert records.outbox.counts().oldest is None
    add_status(records, "t", "a")
    add_status(records, "t", "b")
    records.outbox.set_aside(records.outbox.take("t"), "refused")
    counts = records.outbox.counts()
    assert (counts.pending, counts.dead_letters) == (1, 1)
    assert counts.oldest is not None


def test_fate_of_a_row_is_known_by_its_key(records):
    records.outbox.add(Kind.LOG_LINE, "t", {"message": "日本"}, run_id=None, key="k")
    assert records.outbox.entry_of("k").state == "pending"
    records.outbox.set_aside(records.outbox.take("t"), "refused")
    assert records.outbox.entry_of("k").last_error == "refused"
    records.outbox.remove("k")
    assert records.outbox.entry_of("k") is None
