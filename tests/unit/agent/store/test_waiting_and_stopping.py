"""Jobs that wait for their time, stops and which of them stands, the pause, and the journal."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from keruta_agent.agent.store import jobs as jobs_module
from keruta_agent.agent.store.jobs import JobState, StopKind
from keruta_agent.agent.store.run import Outcome, RunResult
from keruta_agent.core.model import Task

START = datetime(2026, 1, 1, tzinfo=UTC)


def record(records, number: int = 1, *, priority: int = 0) -> int:
    job_id = records.jobs.record_task(
        Task(
            id=f"task-{number}",
            session_id="s",
            name=f"name {number}",
            script="true",
            priority=priority,
            created_at=START + timedelta(seconds=number),
        )
    )
    assert job_id is not None
    return job_id


def fail(records) -> int:
    """Make the next job fail and return its id."""
    job, run = records.runs.claim_next()
    run = records.runs.own(job, run)
    result = RunResult(outcome=Outcome.FAILED, message="", exit_code=1)
    records.runs.end(job, run, result, job_state=JobState.FAILING)
    return job.id


@pytest.fixture
def clock(monkeypatch):
    """The clock that nobody can set, held by the test."""
    now = [1000.0]
    monkeypatch.setattr(jobs_module, "boot_seconds", lambda: now[0])
    return now


def test_scheduled_job_waits_for_its_time_and_no_longer(records, clock):
    record(records)
    job_id = fail(records)
    records.jobs.schedule(job_id, 30)
    assert (records.jobs.get(job_id).state, records.jobs.wake_due()) == (JobState.SCHEDULED, [])
    assert records.jobs.seconds_to_next() == 30
    assert records.runs.claim_next() is None
    clock[0] += 30
    assert records.jobs.seconds_to_next() == 0
    assert records.jobs.wake_due() == [job_id]
    assert records.jobs.wake_due() == []
    assert records.jobs.seconds_to_next() is None
    assert records.runs.claim_next()[1].number == 2


def test_step_of_the_wall_clock_wakes_nothing_and_delays_nothing(records, clock):
    record(records)
    job_id = fail(records)
    records.jobs.schedule(job_id, 30)
    for step in (timedelta(days=400), timedelta(days=-400)):
        with time_machine.travel(datetime.now(UTC) + step):
            assert records.jobs.wake_due() == []
            assert records.jobs.seconds_to_next() == 30
    clock[0] += 31
    with time_machine.travel(START):
        assert records.jobs.wake_due() == [job_id]


def test_job_that_was_scheduled_before_a_restart_is_due_after_it(records, clock, monkeypatch):
    record(records)
    job_id = fail(records)
    clock[0] = 1_000_000.0
    records.jobs.schedule(job_id, 30)
    monkeypatch.setattr(jobs_module, "boot_id", lambda: "the next boot")
    clock[0] = 5.0
    assert records.jobs.seconds_to_next() == 0
    assert records.jobs.wake_due() == [job_id]


def test_retried_job_keeps_its_place_before_younger_ones(records, clock):
    first, second = record(records, 1), record(records, 2)
    urgent = record(records, 3, priority=5)
    assert fail(records) == urgent
    records.jobs.finish(urgent)
    assert fail(records) == first
    records.jobs.schedule(first, 1)
    clock[0] += 1
    records.jobs.wake_due()
    assert records.jobs.waiting_ids() == [first, second]


def test_younger_job_does_not_wait_for_the_retry_of_an_older_one(records, clock):
    first, second = record(records, 1), record(records, 2)
    assert fail(records) == first
    records.jobs.schedule(first, 60)
    assert records.runs.claim_next()[0].id == second


def test_scheduled_job_that_is_cancelled_never_runs_again_and_is_reported(records, clock):
    record(records)
    job_id = fail(records)
    records.jobs.schedule(job_id, 30)
    assert records.runs.cancel_job(job_id, "enough") is JobState.SCHEDULED
    clock[0] += 60
    assert records.jobs.wake_due() == []
    assert records.jobs.get(job_id).outcome == "cancelled"
    sent = records.outbox.take("task-1")
    records.outbox.delivered(sent)  # the beginning of its only run
    assert records.outbox.take("task-1").first.payload["error_code"] == "CANCELLED"


@pytest.mark.parametrize("weak", [StopKind.TIMED_OUT, StopKind.AGENT_STOPPED])
@pytest.mark.parametrize("strong", [StopKind.CANCELLED, StopKind.REFUSED])
def test_stop_after_which_nothing_is_tried_again_goes_before_one_that_may_be(records, weak, strong):
    job_id = record(records)
    records.runs.claim_next()
    records.jobs.request_stop(job_id, weak, "weak")
    records.jobs.request_stop(job_id, strong, "strong")
    assert (records.jobs.get(job_id).stop_kind, records.jobs.get(job_id).stop_reason) == (
        strong,
        "strong",
    )
    records.jobs.request_stop(job_id, weak, "weak")
    assert records.jobs.get(job_id).stop_kind is strong


def test_stop_of_a_run_is_forgotten_when_the_job_is_tried_again(records, clock):
    job_id = record(records)
    records.runs.claim_next()
    records.jobs.request_stop(job_id, StopKind.TIMED_OUT, "too long")
    records.jobs.schedule(job_id, 0)
    assert records.jobs.get(job_id).stop_kind is None


def test_nothing_is_claimed_while_the_queue_is_paused(records):
    record(records)
    records.jobs.pause("deploy")
    records.jobs.pause("the other deploy")
    assert records.jobs.pause_reason() == "the other deploy"
    assert records.runs.claim_next() is None
    records.jobs.resume()
    assert records.jobs.pause_reason() is None
    assert records.runs.claim_next() is not None


def test_retry_says_so_in_the_log_and_does_not_claim_the_task_twice(records):
    record(records)
    job_id = fail(records)
    records.outbox.delivered(records.outbox.take("task-1"))
    records.jobs.schedule(job_id, -1)
    records.jobs.wake_due()
    records.runs.own(*records.runs.claim_next())
    entry = records.outbox.take("task-1").first
    assert (entry.kind, entry.payload["message"]) == ("log_line", "Run 2 of the task begins")


def test_run_that_was_found_on_disk_becomes_active_and_the_api_hears_of_no_beginning(records):
    job_id = record(records)
    job, run = records.runs.restore(
        records.jobs.get(job_id), uid="abc", number=1, directory="000001-1-abc", token="t"
    )
    assert (job.state, run.stage) == (JobState.RUNNING, None)
    assert records.runs.active()[1].uid == "abc"
    assert records.runs.by_uid("abc").id == run.id
    assert records.runs.by_uid("other") is None
    assert records.outbox.counts().pending == 0


def test_agent_that_died_in_the_middle_of_a_stage_is_counted(records):
    record(records)
    job, run = records.runs.claim_next()
    for failures in (1, 2):
        records.runs.enter(run.id, "prepare")
        run = records.runs.take_up(job, records.runs.get(run.id))
        assert run.agent_failures == failures
    assert records.runs.take_up(job, run).agent_failures == 2, "it was in no stage"
    records.runs.started(job, run, 1)
    assert records.runs.get(run.id).agent_failures == 0
    followed = records.runs.take_up(job, records.runs.get(run.id))
    assert followed.agent_failures == 0, "to follow a script is no stage to die of"
    records.runs.enter(run.id, "finish")
    assert records.runs.take_up(job, records.runs.get(run.id)).agent_failures == 1


def test_story_of_a_job_is_kept_in_order_and_with_its_details(records):
    job_id = record(records)
    other = record(records, 2)
    records.jobs.set_priority(job_id, 4)
    fail(records)
    records.jobs.request_stop(job_id, StopKind.CANCELLED, "日本語")
    story = records.journal.of_job(job_id)
    assert [event.action for event in story] == [
        "recorded",
        "moved",
        "claimed",
        "ended",
        "stop_asked",
    ]
    assert [event.run_number for event in story] == [None, None, 1, 1, None]
    assert story[-1].detail == {"kind": "cancelled", "reason": "日本語"}
    assert [event.action for event in records.journal.of_job(other)] == ["recorded"]


def test_event_is_stored_with_its_fact_or_not_at_all(records):
    job_id = record(records)
    with pytest.raises(RuntimeError), records.database.transaction():
        records.jobs.set_priority(job_id, 9)
        raise RuntimeError("killed here")
    assert records.jobs.get(job_id).priority == 0
    assert [event.action for event in records.journal.of_job(job_id)] == ["recorded"]
