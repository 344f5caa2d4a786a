"""A session with many tasks: a poll asks and writes by the set, never by the task."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
import sys

import pytest

from keruta_agent.agent.journey import recover, run
from keruta_agent.agent.journey.session import poll as session_poll
from keruta_agent.agent.store import intake
from keruta_agent.agent.store.jobs import JobState, Work
from keruta_agent.core.model import TaskStatus
from tests.helpers.agents import SESSION


@pytest.fixture
def small_batches(monkeypatch):
    monkeypatch.setattr(intake, "BATCH", 10)
    monkeypatch.setattr(session_poll, "BATCH", 10)


@pytest.fixture
def statements(agent):
    """Return what counts the statements of a call, by their first word."""
    connection = agent.records.database.connection()

    def of(call) -> list[str]:
        seen: list[str] = []
        connection.set_trace_callback(lambda text: seen.append(text.split()[0]))
        call()
        connection.set_trace_callback(None)
        return seen

    return of


def test_poll_without_news_writes_nothing_and_asks_no_more_for_more_known_tasks(
    poll, file_task, statements
):
    file_task("true")
    poll.poll()
    of_one = statements(poll.poll)
    for _ in range(200):
        file_task("true")
    poll.poll()
    of_many = statements(poll.poll)
    assert len(of_one) == len(of_many)
    assert not {"BEGIN", "INSERT", "UPDATE", "DELETE"} & set(of_many)


def test_new_tasks_take_one_transaction_a_batch(poll, file_task, statements, small_batches):
    poll.poll()
    for _ in range(35):
        file_task("true")
    assert statements(poll.poll).count("BEGIN") == 4


def test_priorities_that_change_at_the_api_take_one_transaction_a_batch(
    api, agent, poll, file_task, statements, small_batches
):
    tasks = [file_task("true") for _ in range(35)]
    poll.poll()
    for number, task in enumerate(tasks):
        api.tasks[task.id] = dataclasses.replace(task, priority=number)
    assert statements(poll.poll).count("BEGIN") == 4
    order = [agent.records.jobs.get(job_id).task_id for job_id in agent.records.jobs.waiting_ids()]
    assert order == [task.id for task in reversed(tasks)]


def test_first_batch_holds_what_runs_first(api, agent, poll, file_task, small_batches, monkeypatch):
    tasks = [file_task("true", priority=number % 7) for number in range(35)]
    batches = []
    record = agent.records.jobs.record_tasks
    monkeypatch.setattr(
        agent.records.jobs, "record_tasks", lambda batch: batches.append(batch) or record(batch)
    )
    poll.poll()
    recorded = [task.id for batch in batches for task in batch]
    expected = sorted(tasks, key=lambda task: (-task.priority, task.created_at))
    assert recorded == [task.id for task in expected]
    waiting = agent.records.jobs.waiting_ids()
    assert [agent.records.jobs.get(job_id).task_id for job_id in waiting] == recorded


def test_waiting_tasks_that_are_cancelled_or_deleted_at_the_api_are_not_run(
    api, agent, poll, file_task, tmp_path
):
    tasks = [file_task(f"echo {number} >> {tmp_path}/ran") for number in range(4)]
    poll.poll()
    api.set_status(tasks[0].id, TaskStatus.CANCELLED)
    del api.tasks[tasks[1].id]
    poll.poll()
    while run.has_next(agent):
        run.run_next(agent)
    assert (tmp_path / "ran").read_text() == "2\n3\n"


def test_end_of_the_session_ends_all_that_wait_batch_by_batch(
    api, agent, poll, file_task, statements, small_batches
):
    for _ in range(35):
        file_task("true")
    poll.poll()
    own = agent.records.jobs.record_script("ad hoc", Work())
    api.sessions[SESSION] = dataclasses.replace(api.sessions[SESSION], status="COMPLETED")
    assert statements(poll.poll).count("BEGIN") == 4
    counts = agent.records.jobs.counts()
    assert (counts[JobState.FINISHED], counts[JobState.WAITING]) == (35, 1)
    assert agent.records.jobs.get(own).state is JobState.WAITING, "it is of no session"
    assert agent.records.outbox.counts().pending == 0, "the API knows that none has begun"
    story = [event.action for event in agent.records.journal.of_job(1)]
    assert story == ["recorded", "stop_asked"]


def test_tasks_that_others_released_are_revived_together(
    api, agent, poll, file_task, statements, small_batches
):
    for _ in range(15):
        file_task("true")
    poll.poll()
    agent.records.withdrawals.refuse_waiting(SESSION, "another agent has it", most=100)
    assert statements(poll.poll).count("BEGIN") == 2
    assert agent.records.jobs.counts()[JobState.WAITING] == 15


def test_log_names_a_few_of_many_new_tasks_and_counts_the_others(poll, file_task, caplog):
    caplog.set_level("INFO")
    for _ in range(session_poll.MOST_NAMED + 5):
        file_task("true")
    poll.poll()
    actions = [getattr(record, "action", "") for record in caplog.records]
    assert actions.count("task_recorded") == session_poll.MOST_NAMED
    assert actions.count("tasks_recorded") == 1
    assert "recorded 5 more tasks, up to job 25" in caplog.text


def test_housekeeping_reads_the_runs_on_disk_alone(agent, run_all, file_task, monkeypatch):
    for _ in range(3):
        file_task("true")
    run_all()
    kept = agent.records.runs.of_job(2)[0].directory
    for number in (1, 3):
        shutil.rmtree(agent.directory_of(agent.records.runs.of_job(number)[0]).path)
    measured = []
    usage = recover.file_trees.disk_usage
    monkeypatch.setattr(
        recover.file_trees, "disk_usage", lambda path: measured.append(path.name) or usage(path)
    )
    monkeypatch.setattr(agent.disk, "hold_reserve", lambda: True)
    assert recover.remove_old_runs(agent) == 0
    assert measured == [kept]


#: Forks an agent that is killed at its n-th statement, for each n, and lets another one go on.
KILLED = """
import os, signal, sys, tempfile
from pathlib import Path
from keruta_agent.agent.journey.session import poll as session_poll
from keruta_agent.agent.journey.session.poll import SessionPoll
from keruta_agent.agent.store import intake
from keruta_agent.testing import InMemoryKerutaApi
from tests.helpers.agents import SESSION, agent_in

intake.BATCH = session_poll.BATCH = 5

def api_with_tasks():
    api = InMemoryKerutaApi()
    api.add_session(SESSION)
    for number in range(12):
        api.add_task(SESSION, "true", priority=number % 3)
    return api

def poll(directory, api, dies_at=None):
    with agent_in(directory, api, session_id=SESSION) as agent:
        connection, left = agent.records.database.connection(), dies_at
        def count(_):
            nonlocal left
            left -= 1
            if not left:
                os.kill(os.getpid(), signal.SIGKILL)
        connection.set_trace_callback(count if dies_at else None)
        SessionPoll(agent, api).poll()
        connection.set_trace_callback(None)
        return [
            [event.action for event in agent.records.journal.of_job(job.id)]
            for job in agent.records.jobs.listing()
        ]

number = 0
while True:
    number += 1
    with tempfile.TemporaryDirectory() as name:
        directory, api = Path(name), api_with_tasks()
        child = os.fork()
        if not child:
            poll(directory, api, dies_at=number)
            os._exit(0)
        if not os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]):
            break
        with agent_in(directory, api, session_id=SESSION) as agent:
            kept = agent.records.jobs.listing()
            assert len(kept) in (0, 5, 10, 12), len(kept)
        assert poll(directory, api) == [["recorded"]] * 12
print(number)
"""


def test_kill_at_any_statement_of_a_poll_loses_and_doubles_nothing():
    made = subprocess.run(
        [sys.executable, "-W", "error", "-c", KILLED], capture_output=True, text=True, check=False
    )
    assert made.returncode == 0, made.stderr
    assert int(made.stdout) > 12, "it was killed at more places than there are tasks"
