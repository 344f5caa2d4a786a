"""A full disk delays what is to be stored; nothing is parked, forgotten, or done twice."""

from __future__ import annotations

import errno
import sqlite3
import time

import pytest

from keruta_agent.agent.control.commands import Cancel
from keruta_agent.agent.control.control import Control
from keruta_agent.agent.control.table import execute
from keruta_agent.agent.daemon import shutdown
from keruta_agent.agent.daemon.wiring import build_agent
from keruta_agent.agent.journey import collect, finish, follow, on_failure, prepare, recover
from keruta_agent.agent.journey.observe import ingest
from keruta_agent.agent.journey.session.poll import SessionPoll
from keruta_agent.agent.queue import dispatcher as dispatcher_module
from keruta_agent.agent.queue import queues
from keruta_agent.agent.queue.dispatcher import Dispatcher
from keruta_agent.agent.run import processes
from keruta_agent.agent.store.jobs import Jobs, StopKind, Work
from keruta_agent.agent.store.journal import Journal
from keruta_agent.agent.store.outbox import Lane, Outbox
from keruta_agent.agent.store.runs import Runs
from keruta_agent.core.model import TaskStatus
from keruta_agent.core.process_tree.proc import process_state
from tests.helpers.agents import SESSION, settings_in
from tests.helpers.waiting import wait_until

#: What a database and a file say; that both are one to the agent, test_disk.py shows.
FULL = (
    sqlite3.OperationalError("database or disk is full"),
    OSError(errno.ENOSPC, "No space left on device"),
)


def _cancel(agent, job_id):
    return execute(Control.of_agent(agent, dict), Cancel(job=job_id)).was


class Disk:
    """A disk that is full, or fills up at the places that a test names."""

    def __init__(self, monkeypatch) -> None:
        self._monkeypatch = monkeypatch
        self.full = True
        self.refused = 0

    def at(self, owner, name, failure) -> None:
        original = getattr(owner, name)

        def stores(*args, **kwargs):
            if self.full:
                self.refused += 1
                raise failure
            return original(*args, **kwargs)

        self._monkeypatch.setattr(owner, name, stores)


@pytest.fixture
def disk(monkeypatch):
    monkeypatch.setattr(dispatcher_module, "AGENT_FAILURE_WAIT_S", 0.02)
    return Disk(monkeypatch)


@pytest.fixture
def start(tmp_path, api):
    """Return what starts an agent with its dispatcher."""
    started = []

    def start():
        settings = settings_in(tmp_path, session_id=SESSION, auto_fix="false")
        (tmp_path / "base").mkdir(mode=0o700)
        dispatcher = Dispatcher(settings.base_dir, 0.1)
        agent = build_agent(settings, dispatcher, api)
        started.append((dispatcher, agent))
        recover.reconcile(agent)
        dispatcher.start(agent, SessionPoll(agent, api))
        return dispatcher, agent

    yield start
    for dispatcher, agent in started:
        dispatcher.stop(30)
        agent.records.database.close()


@pytest.mark.parametrize(
    ("owner", "name", "failure"),
    [
        (finish, "store", FULL[0]),
        (collect, "copy_artifacts", FULL[1]),
        (collect, "remember_before", FULL[1]),
        (prepare, "_about", FULL[1]),
        (ingest.Ingester, "store_new", FULL[1]),
        (Runs, "add_ranges", FULL[0]),
        (Runs, "started", FULL[0]),
        (Runs, "end", FULL[0]),
    ],
    ids=lambda value: getattr(value, "__name__", value if isinstance(value, str) else ""),
)
def test_run_ends_well_once_the_disk_is_writable_again(
    api, start, disk, tmp_path, owner, name, failure
):
    disk.at(owner, name, failure)
    task = api.add_task(SESSION, f"echo ran >> {tmp_path}/runs; echo output")
    _, agent = start()
    # Far more often than an agent may fail at a run by itself.
    wait_until(lambda: disk.refused > 8, "the disk was found full")
    disk.full = False
    wait_until(lambda: api.task(task.id).status is TaskStatus.COMPLETED, "the task is done")
    assert (tmp_path / "runs").read_text() == "ran\n"
    assert api.log_text(task.id, "stdout") == "output\n"
    assert api.statuses(task.id) == [TaskStatus.PROCESSING, TaskStatus.COMPLETED]
    run = agent.records.runs.of_job(1)[0]
    assert (run.agent_failures, run.outcome) == (0, "succeeded")
    assert "agent_failed" not in [event.action for event in agent.records.journal.of_job(1)]


def test_full_disk_that_keeps_even_its_own_excuse_from_being_stored_is_waited_for(
    api, start, disk, tmp_path
):
    for name in ("enter", "end"):
        disk.at(Runs, name, FULL[0])
    task = api.add_task(SESSION, f"echo ran >> {tmp_path}/runs")
    _, agent = start()
    wait_until(lambda: disk.refused > 8, "the disk was found full")
    disk.full = False
    wait_until(lambda: api.task(task.id).status is TaskStatus.COMPLETED, "the task is done")
    assert (tmp_path / "runs").read_text() == "ran\n"
    assert agent.records.runs.of_job(1)[0].agent_failures == 0


def test_failed_job_whose_end_could_not_be_decided_is_decided_once_the_disk_is_writable(
    api, start, disk, tmp_path
):
    disk.at(on_failure, "decide", FULL[0])
    task = api.add_task(SESSION, f"while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; exit 3")
    disk.full = False
    start()
    disk.full = True
    (tmp_path / "go").touch()
    wait_until(lambda: disk.refused > 3, "the disk was found full")
    disk.full = False
    wait_until(lambda: api.task(task.id).status is TaskStatus.FAILED, "the end is reported")


def test_poll_that_could_not_be_queued_is_asked_for_again(api, start, disk, caplog):
    disk.full = False
    dispatcher, _ = start()
    disk.at(dispatcher._polls.storage, "enqueue", FULL[0])
    wait_until(lambda: "pending_tasks" in api.calls, "it has polled")
    disk.full = True
    wait_until(lambda: disk.refused > 1, "a poll could not be queued")
    task = api.add_task(SESSION, "true")
    disk.full = False
    wait_until(lambda: api.task(task.id).status is TaskStatus.COMPLETED, "the task is done")
    assert caplog.text.count("nothing can be stored") == 1


def test_thread_that_waits_for_the_disk_does_not_spin(start, disk, monkeypatch):
    monkeypatch.setattr(dispatcher_module, "AGENT_FAILURE_WAIT_S", 300.0)
    disk.full = False
    dispatcher, _ = start()
    disk.at(Outbox, "tasks_due", FULL[0])
    disk.full = True
    for _ in range(20):
        dispatcher.outbox_filled()
        time.sleep(dispatcher_module.GATHER_S / 10)
    wait_until(lambda: disk.refused, "the disk was found full")
    time.sleep(2 * dispatcher_module.GATHER_S)
    assert disk.refused <= len(Lane)  # once in the thread of each lane


@pytest.mark.parametrize(("owner", "name"), [(Outbox, "tasks_due"), (Jobs, "wake_due")])
def test_what_a_thread_could_not_do_is_done_once_the_disk_is_writable(
    api, start, disk, owner, name
):
    disk.at(owner, name, FULL[0])
    task = api.add_task(SESSION, "exit 3", parameters={"retry": {"count": 1, "delay": 0}})
    start()
    wait_until(lambda: disk.refused > 3, "the disk was found full")
    disk.full = False
    wait_until(lambda: api.task(task.id).status is TaskStatus.FAILED, "the end is reported")
    assert "Run 2 of the task begins" in api.log_text(task.id, "agent")


@pytest.mark.parametrize("how", ["time limit", "person", "agent"])
def test_script_that_filled_the_disk_is_stopped_while_it_is_full(api, start, disk, tmp_path, how):
    for owner, name in ((Runs, "add_ranges"), (Jobs, "request_stop"), (Journal, "add")):
        disk.at(owner, name, FULL[0])
    disk.full = False
    limit = {"timeout": "300ms"} if how == "time limit" else {}
    script = f"echo $$ > {tmp_path}/pid; while [ ! -e {tmp_path}/full ]; do sleep 0.02; done\n"
    task = api.add_task(SESSION, f"{script}echo filled; sleep 300", parameters=limit)
    _, agent = start()
    pid_file = tmp_path / "pid"
    pid = int(wait_until(lambda: pid_file.exists() and pid_file.read_text(), "the script runs"))
    disk.full = True
    (tmp_path / "full").touch()
    written = agent.directory_of(agent.records.runs.active()[1]).path / "stdout"
    wait_until(written.read_text, "the script has filled the disk")
    if how == "person":
        assert _cancel(agent, 1) == "running"
    elif how == "agent":
        agent.stops.request(1, StopKind.AGENT_STOPPED, "The agent was stopped")
    wait_until(lambda: process_state(pid) is None, "the script was stopped")
    disk.full = False
    wait_until(lambda: api.task(task.id).status is TaskStatus.FAILED, "the end is reported")
    codes = {"time limit": "TIMED_OUT", "person": "CANCELLED", "agent": "AGENT_STOPPED"}
    assert api.task(task.id).error_code == codes[how]
    assert api.log_text(task.id, "stdout") == "filled\n"


def test_job_that_has_not_begun_cannot_be_cancelled_on_a_full_disk(start, disk):
    disk.full = False
    _, agent = start()
    agent.records.jobs.pause("the test wants it so")
    job_id = agent.records.jobs.record_script("x", Work(script="true"))
    disk.at(Jobs, "request_stop", FULL[0])
    disk.full = True
    with pytest.raises(sqlite3.OperationalError):
        _cancel(agent, job_id)
    assert agent.stops.is_asked(job_id) is None


def test_shim_that_waits_for_the_disk_to_record_the_end_is_not_killed_for_it(
    api, start, disk, tmp_path, monkeypatch
):
    monkeypatch.setattr(follow, "SHIM_GRACE_S", 0.1)
    monkeypatch.setattr(follow, "descendants", lambda pid: [])
    monkeypatch.setattr(processes, "stop_shim", lambda shim: None)
    disk.full = False
    api.add_task(
        SESSION,
        f"touch {tmp_path}/begun; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; echo end",
    )
    dispatcher, agent = start()
    wait_until((tmp_path / "begun").exists, "it runs")
    agent.stops.request(1, StopKind.AGENT_STOPPED, "The agent was stopped")
    dispatcher.stop_taking_jobs()
    assert dispatcher.wait_for_job(30)  # the daemon can leave all the same
    run = agent.records.runs.active()[1]
    (tmp_path / "go").touch()
    wait_until(lambda: agent.directory_of(run).read_exit(), "the end is recorded")


def test_message_that_cannot_be_taken_on_a_full_disk_is_taken_later(
    api, start, disk, monkeypatch, caplog
):
    monkeypatch.setattr(queues, "FULL_DISK_WAIT_S", 0.02)
    disk.full = False
    dispatcher, _ = start()
    disk.at(dispatcher._work.storage, "dequeue", FULL[0])
    disk.full = True
    task = api.add_task(SESSION, "true")
    dispatcher.poll_now()
    wait_until(lambda: disk.refused > 3, "the message could not be taken")
    disk.full = False
    wait_until(lambda: api.task(task.id).status is TaskStatus.COMPLETED, "the task is done")
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def test_daemon_that_ends_on_a_full_disk_leaves_its_outbox_to_the_next(api, start, disk):
    disk.full = False
    _, agent = start()
    disk.at(Outbox, "tasks_due", FULL[0])
    disk.full = True
    shutdown.drain_outbox(agent)
    assert disk.refused
