"""The comparison of a long list with the jobs, and the queries over many of them."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keruta_agent.agent.store import intake
from keruta_agent.agent.store.jobs import JobState, Work
from keruta_agent.agent.store.run import Outcome, RunResult
from keruta_agent.agent.store.sqlite import database
from keruta_agent.agent.store.sqlite.migrations import MIGRATIONS
from keruta_agent.agent.store.store import Records
from keruta_agent.core.model import Task

#: Ids that JSON, SQL or C strings could take for something else.
ODD = ['a"b', "a\\u0041", "日本語", "a'b", "a\0b", "a", "", "$.a", "[0]", "😀", " a "]


def task(task_id: str, priority: int = 0) -> Task:
    return Task(id=task_id, session_id="s", name=task_id, script="true", priority=priority)


@given(known=st.sets(st.sampled_from(ODD)), listed=st.sets(st.sampled_from(ODD), min_size=1))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_tasks_with_odd_ids_are_recorded_once(records, known, listed):
    with records.database.transaction() as connection:
        connection.execute("DELETE FROM journal")
        connection.execute("DELETE FROM jobs")
    records.jobs.record_tasks([task(each) for each in sorted(known)])
    found = records.intake.compare(dict.fromkeys(listed, 0))
    records.jobs.record_tasks([task(each) for each in sorted(found.unknown)])
    stored = [job.task_id for job in records.jobs.listing()]
    assert sorted(stored) == sorted(known | listed)
    assert found.moved == {}


def test_only_what_differs_is_found(records):
    for each in ("same", "moved", "begun", "alone"):
        records.jobs.record_task(task(each))
    for each, leave in (("begun", False), ("alone", True)):
        job = records.jobs.by_task(each)
        run = records.runs.claim_job(job.id)[1]
        if leave:
            records.database.connection().execute("UPDATE runs SET is_owned = 0")
            records.withdrawals.leave_alone(job, run, "another agent has it")
        else:
            result = RunResult(outcome=Outcome.SUCCEEDED, message="")
            records.runs.end(job, run, result, job_state=JobState.FINISHED)
    listed = {"same": 0, "moved": 7, "begun": 7, "alone": 7, "new": 7}
    found = records.intake.compare(listed)
    assert found == intake.Differences(
        unknown=frozenset({"new"}), refused=frozenset({"alone"}), moved={"moved": 7}
    )


def test_batch_is_recorded_as_a_whole_with_the_beginning_of_each_story(records, monkeypatch):
    records.jobs.record_task(task("known"))
    new = records.jobs.record_tasks([task("known"), task("first", 3), task("second")])
    assert new == {"first": 2, "second": 3}, "what is known uses up no number"
    stories = [records.journal.of_job(job_id) for job_id in (1, 2, 3)]
    assert [[each.action for each in story] for story in stories] == [["recorded"]] * 3
    assert stories[1][0].detail == {"priority": 3}


@given(priorities=st.lists(st.integers(-2, 2), max_size=12), limit=st.integers(1, 14))
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_list_with_a_limit_begins_like_the_whole_one(records, priorities, limit):
    with records.database.transaction() as connection:
        for table in ("journal", "runs", "jobs"):
            connection.execute(f"DELETE FROM {table}")
    for number, priority in enumerate(priorities):
        job_id = records.jobs.record_script(str(number), Work(), priority=priority)
        state = ("waiting", "scheduled", "finished")[number % 3]
        records.database.connection().execute(
            "UPDATE jobs SET state = ?, finished_at = ? WHERE id = ?",
            (state, number if state == "finished" else None, job_id),
        )
    jobs = records.jobs.listing()
    assert records.jobs.listing(limit=limit) == jobs[:limit]
    waiting = [job for job in jobs if job.state is JobState.WAITING]
    assert [job.id for job in waiting] == records.jobs.waiting_ids()
    assert [records.jobs.ahead_of(job) for job in waiting] == list(range(len(waiting)))
    ended = [job.finished_at for job in jobs if job.state is JobState.FINISHED]
    assert ended == sorted(ended, reverse=True)


@pytest.mark.parametrize(
    "ask",
    [
        lambda records: records.runs.claim_next(),
        lambda records: records.jobs.waiting_ids(1),
        lambda records: records.jobs.listing(limit=10),
        lambda records: records.jobs.ahead_of(records.jobs.get(1)),
        lambda records: records.jobs.oldest_waiting(),
        lambda records: records.jobs.has_open(),
        lambda records: records.jobs.counts(),
        lambda records: records.intake.compare({"x": 0}),
    ],
)
def test_no_query_reads_or_sorts_all_jobs(records, ask):
    records.jobs.record_task(task("x"))
    asked: list[str] = []
    connection = records.database.connection()
    connection.set_trace_callback(asked.append)
    ask(records)
    connection.set_trace_callback(None)
    for query in asked:
        if query.startswith(("BEGIN", "COMMIT", "PRAGMA")):
            continue
        plan = [row["detail"] for row in connection.execute(f"EXPLAIN QUERY PLAN {query}")]
        whole = [line for line in plan if line.startswith("SCAN jobs") and "INDEX" not in line]
        assert not whole, query
        if "'waiting'" in query:
            # Those that run are one or a few; those scheduled have an index as well.
            assert sum("TEMP B-TREE" in line for line in plan) <= ("running" in query), plan


def test_jobs_of_a_version_before_are_listed_and_compared(tmp_path, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr(database, "MIGRATIONS", MIGRATIONS[:8])
        old = Records.open(tmp_path)
        with old.database.transaction() as connection:
            connection.executemany(
                "INSERT INTO jobs (task_id, session_id, name, priority, filed_at, state, work, "
                "recorded_at) VALUES (?, 's', ?, 0, 1, 'waiting', '{}', 1)",
                [("waits", "waits"), ("ended", "ended")],
            )
            connection.execute("UPDATE jobs SET state = 'finished', finished_at = 1 WHERE id = 2")
        old.close()
    records = Records.open(tmp_path)
    assert [job.task_id for job in records.jobs.listing()] == ["waits", "ended"]
    assert records.jobs.oldest_waiting() is not None
    listed = dict.fromkeys(["waits", "ended", "new"], 0)
    assert records.intake.compare(listed).unknown == {"new"}
    records.close()
