"""The truth of the agent: which jobs there are, which runs, and that only one is active."""

from __future__ import annotations

import sqlite3
import threading
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from keruta_agent.agent.store.jobs import JobState, StopKind, Work
from keruta_agent.agent.store.run import Outcome, RunResult
from keruta_agent.core.model import Task, TaskStatus

START = datetime(2026, 1, 1, tzinfo=UTC)


def task(number: int, *, priority: int = 0, age: int | None = None) -> Task:
    return Task(
        id=f"task-{number}",
        session_id="s",
        name=f"name {number}",
        script="true",
        priority=priority,
        created_at=START + timedelta(seconds=number if age is None else age),
    )


def test_known_task_is_not_recorded_twice(records):
    first = records.jobs.record_task(task(1))
    assert first is not None
    assert records.jobs.record_task(task(1)) is None
    assert records.jobs.record_task(task(2)) == first + 1


def test_work_of_a_job_survives_storage_with_japanese_and_half_characters(records):
    work = Work(script="echo 日本語", parameters={"名前": ["値", 1, None], "half": "\ud800"})
    job_id = records.jobs.record_script("日本語の仕事", work)
    stored = records.jobs.get(job_id)
    assert stored is not None
    assert (stored.work, stored.name) == (work, "日本語の仕事")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(tasks=st.lists(st.tuples(st.integers(-3, 3), st.integers(0, 5)), min_size=1, max_size=12))
def test_jobs_are_claimed_by_priority_then_age_then_arrival(records, tasks):
    with records.database.transaction() as connection:
        for table in ("outbox", "log_ranges", "runs", "journal", "jobs"):
            connection.execute(f"DELETE FROM {table}")
    for number, (priority, age) in enumerate(tasks):
        records.jobs.record_task(task(number, priority=priority, age=age))
    claimed = []
    while (found := records.runs.claim_next()) is not None:
        job, run = found
        claimed.append(job.name)
        result = RunResult(outcome=Outcome.SUCCEEDED, message="")
        records.runs.end(job, run, result, job_state=JobState.FINISHED)
    expected = sorted(range(len(tasks)), key=lambda n: (-tasks[n][0], tasks[n][1], n))
    assert claimed == [f"name {number}" for number in expected]


def test_run_is_reported_to_the_api_once_it_owns_its_task(records):
    records.jobs.record_task(task(1))
    job, run = records.runs.claim_next()
    assert records.outbox.take("task-1") is None
    assert records.runs.own(job, run).is_owned
    batch = records.outbox.take("task-1")
    assert job.state is JobState.RUNNING
    assert batch.first.payload["status"] == TaskStatus.PROCESSING
    assert batch.key == f"{run.uid}-started"


def test_nothing_is_claimed_while_a_run_is_active(records):
    records.jobs.record_task(task(1))
    second = records.jobs.record_task(task(2))
    assert records.runs.claim_next() is not None
    assert records.runs.claim_next() is None
    assert records.runs.claim_job(second) is None


def test_database_refuses_a_second_active_run(records):
    records.jobs.record_task(task(1))
    job, _ = records.runs.claim_next()
    with pytest.raises(sqlite3.IntegrityError):
        records.database.connection().execute(
            "INSERT INTO runs (job_id, number, uid, token, directory, state, claimed_at) "
            "VALUES (?, 2, 'x', 'x', 'x', 'active', 0)",
            (job.id,),
        )


def test_only_one_of_many_threads_claims_a_job(records):
    records.jobs.record_task(task(1))
    claims = []
    barrier = threading.Barrier(8)

    def claim() -> None:
        barrier.wait()
        claims.append(records.runs.claim_next())

    threads = [threading.Thread(target=claim) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(claim is not None for claim in claims) == 1


def test_cancelled_waiting_task_never_runs_and_is_reported(records):
    job_id = records.jobs.record_task(task(1))
    assert records.runs.cancel_job(job_id, "not needed") is JobState.WAITING
    assert records.runs.claim_next() is None
    job = records.jobs.get(job_id)
    batch = records.outbox.take("task-1")
    assert (job.state, job.outcome, job.message) == (JobState.FINISHED, "cancelled", "not needed")
    assert batch.first.payload["status"] == "FAILED"
    assert batch.first.payload["error_code"] == "CANCELLED"


def test_task_that_the_api_does_not_want_is_ended_in_silence(records):
    job_id = records.jobs.record_task(task(1))
    records.jobs.request_stop(job_id, StopKind.REFUSED, "deleted")
    assert records.jobs.get(job_id).outcome == "refused"
    assert records.outbox.counts().pending == 0


def test_first_reason_to_cancel_a_running_job_stands(records):
    job_id = records.jobs.record_task(task(1))
    records.runs.claim_next()
    assert records.runs.cancel_job(job_id, "first") is JobState.RUNNING
    records.runs.cancel_job(job_id, "second")
    assert records.jobs.get(job_id).stop_reason == "first"


def test_cancel_of_an_unknown_job_says_so(records):
    assert records.runs.cancel_job(99, "x") is None


@pytest.mark.parametrize(
    ("reports", "kept"),
    [
        ([TaskStatus.COMPLETED], TaskStatus.COMPLETED),
        ([TaskStatus.COMPLETED, TaskStatus.FAILED], TaskStatus.FAILED),
        ([TaskStatus.FAILED, TaskStatus.COMPLETED], TaskStatus.FAILED),
    ],
)
def test_failure_that_a_script_reported_stands(records, reports, kept):
    records.jobs.record_task(task(1))
    _, run = records.runs.claim_next()
    for status in reports:
        records.runs.report_end(
            run.id, status, message="m", error_code="", wants_auto_fix=None, artifacts_dir=None
        )
    assert records.runs.get(run.id).reported_status is kept


def test_log_ranges_go_on_where_they_stopped(records):
    records.jobs.record_task(task(1))
    job, run = records.runs.claim_next()
    records.runs.add_ranges(job, run, [("stdout", 0, 10), ("stderr", 0, 4)], 1.0)
    records.runs.add_ranges(job, run, [("stdout", 10, 30)], 2.0)
    assert records.runs.offsets(run.id) == {"stdout": 30, "stderr": 4, "agent": 0}
    ranges = [(r.sequence, r.stream, r.start, r.stop) for r in records.runs.ranges(run.id)]
    assert ranges == [(0, "stdout", 0, 10), (1, "stderr", 0, 4), (2, "stdout", 10, 30)]


def test_ranges_and_their_outbox_entries_are_stored_together_or_not_at_all(records):
    records.jobs.record_task(task(1))
    job, run = records.runs.claim_next()
    before = records.outbox.counts().pending
    with pytest.raises(RuntimeError), records.database.transaction():
        records.runs.add_ranges(job, run, [("stdout", 0, 10)], 1.0)
        raise RuntimeError("killed here")
    assert records.runs.ranges(run.id) == []
    assert records.outbox.counts().pending == before


def test_adhoc_jobs_report_nothing_to_the_api(records):
    records.jobs.record_script("mine", Work(script="true"))
    job, run = records.runs.claim_next()
    records.runs.add_ranges(job, run, [("stdout", 0, 10)], 1.0)
    records.runs.report_progress(job, run, 50, "half")
    assert records.outbox.counts().pending == 0
    assert records.runs.get(run.id).progress == 50


def test_secret_of_a_run_is_in_no_repr(records):
    records.jobs.record_task(task(1))
    _, run = records.runs.claim_next()
    assert run.token not in repr(run)


def test_renewed_directory_is_another_one_each_time(records):
    records.jobs.record_task(task(1))
    run = records.runs.own(*records.runs.claim_next())
    names = {run.directory}
    for _ in range(3):
        name = records.runs.fresh_directory(run)
        names.add(records.runs.renew_directory(run.id, name).directory)
    assert len(names) == 4
    assert records.outbox.counts().pending == 1
