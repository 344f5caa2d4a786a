"""Stops of a running script: by time, by a person, by the agent, by the API."""

from __future__ import annotations

import dataclasses
import os
import signal
import threading
from datetime import UTC, datetime, timedelta

import pytest
import time_machine

from keruta_agent.agent.journey import follow, limits, run
from keruta_agent.agent.run import processes
from keruta_agent.agent.run.directory import RunDirectory
from keruta_agent.agent.run.resources import memory
from keruta_agent.agent.store.jobs import JobState, StopKind, Work
from keruta_agent.agent.store.run import Outcome
from keruta_agent.core.model import TaskStatus
from keruta_agent.core.process_tree.proc import process_state
from tests.helpers.agents import agent_in, settings_in
from tests.helpers.waiting import wait_until
from tests.integration.agent.journey.conftest import deliver


@pytest.fixture
def running(agent):
    """Run the next job in a thread; return what waits for its end."""

    class Running:
        def __init__(self) -> None:
            self.ended = None
            self.thread = threading.Thread(target=self._run)

        def _run(self) -> None:
            self.ended = run.run_next(agent)

        def begin(self) -> None:
            self.thread.start()
            wait_until(self.shim, "the script's process is there")

        def shim(self):
            active = agent.records.runs.active()
            return active and agent.directory_of(active[1]).read_identity()

        def end(self):
            self.thread.join(30)
            assert self.ended is not None
            return self.ended

    running = Running()
    yield running
    if running.thread.is_alive():
        agent.records.jobs.request_stop(1, StopKind.REFUSED, "the test is over")
        running.thread.join(30)


def test_script_that_takes_too_long_is_stopped(api, agent, poll, file_task, run_all):
    task = file_task("echo begun; sleep 300", parameters={"timeout": "300ms"})
    run_all()
    stored = api.task(task.id)
    assert (stored.status, stored.error_code) == (TaskStatus.FAILED, "TIMED_OUT")
    assert stored.message == "The script took longer than 300ms: begun"


def test_limit_of_the_settings_holds_unless_the_task_has_its_own(tmp_path):
    with agent_in(tmp_path, task_timeout_s="300ms") as agent:
        agent.records.jobs.record_script("slow", Work(script="sleep 300"))
        own = Work(script="sleep 0.6", parameters={"timeout": 0})
        agent.records.jobs.record_script("any time", own)
        assert run.run_next(agent).outcome is Outcome.TIMED_OUT
        assert run.run_next(agent).outcome is Outcome.SUCCEEDED


@pytest.mark.parametrize("own", ["soon", -1, True, [1], {"s": 1}])
def test_invalid_limit_starts_nothing_and_says_why(agent, tmp_path, own):
    work = Work(script=f"touch {tmp_path}/ran", parameters={"timeout": own})
    agent.records.jobs.record_script("x", work)
    result = run.run_next(agent)
    assert result.outcome is Outcome.NOT_STARTED
    assert "parameters.timeout" in result.message
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize(("own", "expected"), [("1m30s", 90.0), (2, 2.0), (0, 0.0), (None, 7.0)])
def test_limit_is_read_as_a_duration(agent, tmp_path, own, expected):
    parameters = {} if own is None else {"timeout": own}
    job_id = agent.records.jobs.record_script("x", Work(script="true", parameters=parameters))
    settings = settings_in(tmp_path, task_timeout_s="7s")
    assert limits.timeout_s(agent.records.jobs.get(job_id), settings) == expected


def test_step_of_the_wall_clock_times_nothing_out(agent, running):
    work = Work(script="sleep 0.8; echo over", parameters={"timeout": "1h"})
    agent.records.jobs.record_script("x", work)
    running.begin()
    with time_machine.travel(datetime.now(UTC) + timedelta(days=3650)):
        assert running.end().outcome is Outcome.SUCCEEDED


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [
        (StopKind.CANCELLED, Outcome.CANCELLED),
        (StopKind.AGENT_STOPPED, Outcome.AGENT_STOPPED),
        (StopKind.REFUSED, Outcome.REFUSED),
    ],
)
def test_stop_is_reported_as_what_it_was(agent, running, kind, outcome):
    agent.records.jobs.record_script("x", Work(script="echo last words; sleep 300"))
    running.begin()
    agent.records.jobs.request_stop(1, kind, "so it is")
    agent.wake_event.wake()
    result = running.end()
    assert result.outcome is outcome
    assert result.message.startswith("so it is")


def test_script_that_ended_well_before_the_stop_came_has_succeeded(agent, running, tmp_path):
    agent.records.jobs.record_script(
        "x", Work(script=f"while [ ! -e {tmp_path}/go ]; do sleep 0.02; done")
    )
    running.begin()
    shim = running.shim()
    directory = agent.directory_of(agent.records.runs.active()[1])
    script = wait_until(directory.read_process, "the script has been started").pid
    os.kill(shim.pid, signal.SIGSTOP)
    (tmp_path / "go").touch()
    # "Z" unless the follower has thawed the shim already, which then has collected it.
    wait_until(lambda: (process_state(script) or "Z")[0] == "Z", "the script has ended")
    agent.records.jobs.request_stop(1, StopKind.CANCELLED, "too late")
    agent.wake_event.wake()
    # Thawed by the request to stop, the shim finds that the script ended by itself.
    assert running.end().outcome is Outcome.SUCCEEDED


@pytest.mark.parametrize(
    ("kind", "outcome"),
    [
        (StopKind.CANCELLED, Outcome.CANCELLED),
        (StopKind.TIMED_OUT, Outcome.TIMED_OUT),
        (StopKind.REFUSED, Outcome.REFUSED),
    ],
)
def test_shim_that_ignores_signals_is_killed_with_its_script_and_the_stop_is_reported_truly(
    agent, running, monkeypatch, kind, outcome
):
    monkeypatch.setattr(processes, "stop_shim", lambda shim: None)
    monkeypatch.setattr(follow, "SHIM_GRACE_S", 0.1)
    agent.records.jobs.record_script("x", Work(script="trap '' TERM; sleep 300"))
    running.begin()
    uid = agent.records.runs.active()[1].uid
    agent.records.jobs.request_stop(1, kind, "so it is")
    agent.wake_event.wake()
    result = running.end()
    assert (result.outcome, result.message) == (outcome, "so it is")
    assert processes.marked_processes(uid) == []


def test_stop_of_a_shim_that_has_just_gone_is_no_failure(agent, running, monkeypatch):
    agent.records.jobs.record_script("x", Work(script="sleep 300"))
    running.begin()
    shim, uid = running.shim(), agent.records.runs.active()[1].uid
    os.kill(shim.pid, signal.SIGKILL)
    running.end()
    wait_until(lambda: process_state(shim.pid) is None, "the shim is gone")
    monkeypatch.setattr(type(shim), "is_alive", lambda self: True)  # it was, a moment ago
    processes.stop_shim(shim)
    processes.kill_tree(shim, uid)
    assert processes.marked_processes(uid) == []


def test_kill_by_the_kernel_for_lack_of_memory_is_reported(agent, monkeypatch):
    counts = iter([4, 5])
    monkeypatch.setattr(memory, "kills", lambda: next(counts))
    agent.records.jobs.record_script("x", Work(script="echo growing; kill -9 $$"))
    result = run.run_next(agent)
    assert result.outcome is Outcome.OUT_OF_MEMORY
    assert "memory ran out: growing" in result.message


def test_failure_on_a_full_disk_is_reported_as_that(agent, monkeypatch):
    read_exit = RunDirectory.read_exit

    def full(directory):
        record = read_exit(directory)
        return record and dataclasses.replace(record, full="/work")

    monkeypatch.setattr(RunDirectory, "read_exit", full)
    for script in ("echo no room; exit 7", "kill -BUS $$", "true"):
        agent.records.jobs.record_script("x", Work(script=script))
    failed, killed, well = (run.run_next(agent) for _ in range(3))
    assert failed.outcome is killed.outcome is Outcome.DISK_FULL
    assert failed.message == (
        "The script exited with code 7, and the disk of /work was full: no room"
    )
    assert "signal 7 (SIGBUS), and the disk of /work was full" in killed.message
    assert well.outcome is Outcome.SUCCEEDED


def test_shim_that_somebody_else_asked_to_end_is_no_failure_of_the_script(agent, running):
    agent.records.jobs.record_script("x", Work(script="echo begun; sleep 300"))
    running.begin()
    directory = agent.directory_of(agent.records.runs.active()[1])
    wait_until(lambda: (directory.path / "stdout").read_text(), "the script has begun")
    os.kill(running.shim().pid, signal.SIGTERM)
    result = running.end()
    assert result.outcome is Outcome.AGENT_STOPPED
    assert result.message.endswith("was asked to end, and stopped it: begun")


def test_task_that_was_deleted_at_the_api_is_stopped_and_not_reported(
    api, agent, poll, file_task, running
):
    task = file_task("sleep 300", parameters={"retry": 5})
    poll.poll()
    running.begin()
    deliver(agent)
    del api.tasks[task.id]
    poll.poll()
    assert running.end().outcome is Outcome.REFUSED
    deliver(agent)
    assert api.statuses(task.id) == [TaskStatus.PROCESSING]
    assert agent.records.jobs.get(1).state is JobState.FINISHED


def test_task_that_somebody_else_ended_is_stopped(api, agent, poll, file_task, running):
    task = file_task("sleep 300")
    poll.poll()
    running.begin()
    deliver(agent)
    api.set_status(task.id, TaskStatus.CANCELLED)
    poll.poll()
    assert running.end().outcome is Outcome.REFUSED
    deliver(agent)
    assert api.task(task.id).status is TaskStatus.CANCELLED


def test_session_that_ends_cancels_what_runs_and_what_waits_for_its_next_try(
    api, agent, poll, file_task, running
):
    tried = file_task("exit 1", priority=1, parameters={"retry": {"count": 1, "delay": "1h"}})
    held = file_task("sleep 300")
    waiting = file_task("true")
    poll.poll()
    run.run_next(agent)
    running.begin()
    api.end_session(tried.session_id)
    poll.poll()
    assert running.end().outcome is Outcome.CANCELLED
    deliver(agent)
    assert api.task(tried.id).error_code == "CANCELLED"
    assert api.task(held.id).error_code == "CANCELLED"
    assert api.statuses(waiting.id) == []
    assert not agent.records.jobs.has_open()
