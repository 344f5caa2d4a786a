"""What is kept of ended jobs, and that none of them runs twice."""

from __future__ import annotations

import sqlite3

import pytest

from keruta_agent.agent.control.find import find_job
from keruta_agent.agent.store import shrinking
from keruta_agent.agent.store.artifacts import Owner
from keruta_agent.agent.store.jobs import JobState, Work
from keruta_agent.agent.store.outbox import Kind
from keruta_agent.agent.store.run import Outcome, RunResult
from keruta_agent.agent.store.sqlite.database import Database
from keruta_agent.agent.store.store import Records
from keruta_agent.core import errors
from keruta_agent.core.model import ArtifactFile, StatusReport, Task, TaskStatus

FAR = 1e12
_FILLED = ("jobs", "runs", "outbox", "artifacts", "journal", "log_ranges", "questions")


def task(task_id: str, script: str = "true") -> Task:
    return Task(id=task_id, session_id="s", name=task_id, script=script)


def end(records: Records, task_id: str, ended_at: float) -> int:
    """Record a task, run it and end it at a time."""
    job_id = records.jobs.record_task(task(task_id))
    job, run = records.runs.claim_job(job_id)
    result = RunResult(outcome=Outcome.SUCCEEDED, message="")
    records.runs.end(job, run, result, job_state=JobState.FINISHED)
    with records.database.transaction() as connection:
        connection.execute("UPDATE jobs SET finished_at = ? WHERE id = ?", (ended_at, job_id))
    return job_id


def prune_all(records: Records) -> int:
    due = records.retention.due(ended_before=FAR, most_kept=None)
    return records.retention.prune([ended.job_id for ended in due])


def due(records: Records, before: float = 0.0, kept: int | None = None) -> list[int]:
    return [each.job_id for each in records.retention.due(ended_before=before, most_kept=kept)]


def test_jobs_go_by_age_and_by_number_the_oldest_first(records):
    jobs = [end(records, name, at) for name, at in (("b", 20.0), ("a", 10.0), ("c", 30.0))]
    waiting = records.jobs.record_task(task("waiting"))
    assert due(records) == []
    assert due(records, before=25.0) == [jobs[1], jobs[0]]
    assert due(records, kept=1) == [jobs[1], jobs[0]]
    assert due(records, before=15.0, kept=1) == [jobs[1], jobs[0]]
    assert due(records, before=25.0, kept=3) == [jobs[1], jobs[0]]
    assert due(records, before=FAR, kept=0) == [jobs[1], jobs[0], jobs[2]]
    assert waiting not in due(records, before=FAR)


def test_of_jobs_that_ended_at_once_as_many_stay_as_asked_for(records):
    jobs = [end(records, str(number), 10.0) for number in range(5)]
    assert sorted(due(records, kept=3)) == jobs[3:]


def test_pruned_job_takes_all_that_belongs_to_it_with_it(records, tmp_path):
    job_id = end(records, "task", 1.0)
    run = records.runs.of_job(job_id)[0]
    job = records.jobs.get(job_id)
    copy = tmp_path / "copy"
    copy.write_bytes(b"x")
    file = ArtifactFile(file=copy, relative_path="a", size=1, sha256="0", content_type="text/plain")
    records.artifacts.add(Owner.of_run(job, run), file, key="file", is_copy=True)
    records.questions.ask(job, run, prompt="Which?", secret=False, pid=1, sleeps=None)
    records.runs.add_ranges(job, run, [("stdout", 0, 5)], 1.0)
    while (batch := records.outbox.take("task")) is not None:
        records.outbox.delivered(batch)
    assert prune_all(records) == 1
    counts = {
        table: records.database.connection().execute(f"SELECT count(*) FROM {table}").fetchone()[0]
        for table in _FILLED
    }
    assert counts == dict.fromkeys(_FILLED, 0)
    assert not copy.exists()


@pytest.mark.parametrize("set_aside", [False, True], ids=["waits", "set aside"])
def test_job_whose_end_the_api_has_not_taken_is_kept(records, set_aside):
    job_id = end(records, "task", 1.0)
    report = StatusReport(status=TaskStatus.COMPLETED, message="")
    records.outbox.add_status("task", report, run_id=None, key="end")
    if set_aside:
        records.outbox.set_aside(records.outbox.take("task"), "no")
    assert due(records, before=FAR) == []
    assert records.retention.prune([job_id]) == 0
    assert records.jobs.get(job_id) is not None


def test_dead_letter_that_is_no_end_goes_with_its_job(records):
    end(records, "task", 1.0)
    records.outbox.add(Kind.LOG_LINE, "task", {"message": "x"}, run_id=None, key="line")
    assert due(records, before=FAR) == []
    records.outbox.set_aside(records.outbox.take("task"), "too long")
    assert prune_all(records) == 1
    assert records.outbox.counts().dead_letters == 0


def test_task_of_a_pruned_job_is_never_recorded_again(records):
    end(records, "task", 1.0)
    prune_all(records)
    assert records.intake.compare({"task": 0}).unknown == frozenset()
    assert records.jobs.record_task(task("task")) is None
    assert records.jobs.has_open() is False


def test_task_that_was_left_alone_and_never_ran_comes_back_when_it_is_released(records):
    job_id = records.jobs.record_task(task("task"))
    job, run = records.runs.claim_job(job_id)
    records.database.connection().execute("UPDATE runs SET is_owned = 0")
    records.withdrawals.leave_alone(job, run, "another agent has it")
    prune_all(records)
    assert records.intake.compare({"task": 0}).unknown == frozenset({"task"})
    again = records.jobs.record_task(task("task"))
    assert again not in (None, job_id)
    assert find_job(records, "task").id == again
    # And goes for good once it has run.
    job, run = records.runs.claim_job(again)
    result = RunResult(outcome=Outcome.SUCCEEDED, message="")
    records.runs.end(job, run, result, job_state=JobState.FINISHED)
    assert prune_all(records) == 1
    assert records.intake.compare({"task": 0}).unknown == frozenset()


def test_job_that_a_person_cancelled_before_it_ran_does_not_come_back(records):
    job_id = records.jobs.record_task(task("task"))
    records.runs.cancel_job(job_id, "no")
    records.outbox.delivered(records.outbox.take("task"))
    prune_all(records)
    assert records.intake.compare({"task": 0}).unknown == frozenset()


def test_pruned_job_is_spoken_of_by_number_and_by_task(records):
    job_id = end(records, "task", 86_400.0)
    script = records.jobs.record_script("script", Work(script="true"))
    records.runs.cancel_job(script, "no")
    prune_all(records)
    for text in (str(job_id), "task"):
        with pytest.raises(errors.NotFound, match=r"pruned.*task task ended on 1970-01-02: succ"):
            find_job(records, text)
    with pytest.raises(errors.NotFound, match=r"pruned.*it ended"):
        find_job(records, str(script))
    with pytest.raises(errors.NotFound, match="there is no job or task 99"):
        find_job(records, "99")
    assert records.retention.count() == 2


def test_numbers_of_pruned_jobs_and_events_are_not_given_again(records):
    last = end(records, "task", 1.0)
    events = records.database.connection().execute("SELECT max(id) FROM journal").fetchone()[0]
    prune_all(records)
    assert records.jobs.record_task(task("next")) > last
    first = records.database.connection().execute("SELECT min(id) FROM journal").fetchone()[0]
    assert first > events


def _fill(records: Records) -> None:
    big = "x" * 10_000
    records.jobs.record_tasks([task(str(number), big) for number in range(1500)])
    with records.database.transaction() as connection:
        connection.execute("UPDATE jobs SET state = 'finished', finished_at = 1, outcome = 'lost'")


def _prune_and_shrink(records: Records) -> None:
    while prune_all(records):
        pass
    while shrinking.shrink(records.database):
        pass


def test_database_shrinks(records, tmp_path):
    _fill(records)
    records.database.connection().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    before = (tmp_path / "agent.db").stat().st_size
    _prune_and_shrink(records)
    assert (tmp_path / "agent.db").stat().st_size < before / 4


def test_database_of_an_earlier_version_shrinks_too(tmp_path):
    with sqlite3.connect(tmp_path / "agent.db") as old:
        old.execute("PRAGMA auto_vacuum = NONE")
        old.execute("CREATE TABLE of_old (a)")
    old.close()
    records = Records.open(tmp_path)
    assert records.database.connection().execute("PRAGMA auto_vacuum").fetchone()[0] == 0
    _fill(records)
    records.database.connection().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    before = (tmp_path / "agent.db").stat().st_size
    _prune_and_shrink(records)
    assert (tmp_path / "agent.db").stat().st_size < before / 4
    assert records.database.connection().execute("PRAGMA auto_vacuum").fetchone()[0] == 2
    records.close()


def test_database_that_little_is_free_of_is_left_as_it_is(tmp_path):
    database = Database(tmp_path)
    assert shrinking.shrink(database) is False
    database.close()
