"""agent.db that was put back from an old copy: the run directories and the API know better."""

from __future__ import annotations

import shutil
import sqlite3
from pathlib import Path

import pytest

from keruta_agent.agent.journey import recover, run
from keruta_agent.agent.journey.session.poll import SessionPoll
from keruta_agent.agent.run.processes import marked_processes
from keruta_agent.agent.store.jobs import JobState, Work
from keruta_agent.core import errors
from keruta_agent.core.model import TaskStatus
from tests.helpers.agents import SESSION, agent_in
from tests.helpers.waiting import wait_until
from tests.integration.agent.journey.conftest import deliver


class Killed(BaseException):
    """Stands for kill -9: nothing of the agent catches it."""


@pytest.fixture
def machine(tmp_path, api):
    """Agents that live one after the other in one base directory, and copies of its database."""

    class Machine:
        database = tmp_path / "base" / "agent.db"

        def agent(self):
            return agent_in(tmp_path, api, session_id=SESSION, auto_fix="false")

        def copy(self) -> None:
            self._copy(self.database, tmp_path / "copy.db")

        def put_back(self) -> None:
            for path in self.database.parent.glob("agent.db*"):
                path.unlink()
            self._copy(tmp_path / "copy.db", self.database)

        @staticmethod
        def _copy(source: Path, target: Path) -> None:
            with sqlite3.connect(source) as old, sqlite3.connect(target) as new:
                old.backup(new)
            old.close()
            new.close()

        def work(self, agent) -> None:
            """Do what a daemon does: starts, polls, runs everything, delivers."""
            recover.reconcile(agent)
            SessionPoll(agent, api).poll()
            while True:
                agent.records.jobs.wake_due()
                if run.run_next(agent) is None:
                    break
            deliver(agent)

    return Machine()


def traced(tmp_path, name: str, rest: str = "true") -> str:
    return f"echo {name} >> {tmp_path}/ran; echo output of {name}; {rest}"


def ran(tmp_path) -> list[str]:
    return (tmp_path / "ran").read_text().split()


@pytest.mark.parametrize("recorded_in_copy", [True, False])
def test_task_that_ended_after_the_copy_is_neither_run_nor_reported_again(
    machine, api, file_task, tmp_path, recorded_in_copy
):
    with machine.agent() as agent:
        machine.work(agent)
        if not recorded_in_copy:
            machine.copy()
        good, bad = (
            file_task(traced(tmp_path, "good")),
            file_task(traced(tmp_path, "bad", "exit 3")),
        )
        if recorded_in_copy:
            SessionPoll(agent, api).poll()
            machine.copy()
        machine.work(agent)
    before = list(api.status_writes)
    logs = {task.id: api.log_text(task.id) for task in (good, bad)}
    machine.put_back()
    with machine.agent() as agent:
        machine.work(agent)
        assert not agent.records.jobs.has_open()
        assert agent.records.jobs.by_task(good.id).outcome == "refused"
    assert ran(tmp_path) == ["good", "bad"]
    assert api.status_writes == before
    assert {task.id: api.log_text(task.id) for task in (good, bad)} == logs


def test_task_that_was_running_when_the_copy_was_made_is_not_run_again(
    machine, api, file_task, tmp_path, monkeypatch
):
    task = file_task(traced(tmp_path, "one"))
    with machine.agent() as agent:
        SessionPoll(agent, api).poll()

        def dies(*_):
            machine.copy()
            raise Killed

        with monkeypatch.context() as patched:
            patched.setattr(run.follow, "until_end", dies)
            with pytest.raises(Killed):
                run.run_next(agent)
        machine.work(agent)
    logs = api.log_text(task.id)
    assert logs
    machine.put_back()
    with machine.agent() as agent:
        machine.work(agent)
    assert ran(tmp_path) == ["one"]
    assert api.statuses(task.id) == [TaskStatus.PROCESSING, TaskStatus.COMPLETED]
    assert api.log_text(task.id) == logs


def test_task_that_was_running_in_the_copy_and_whose_directory_is_gone_is_not_run_again(
    machine, api, file_task, tmp_path, monkeypatch
):
    task = file_task(traced(tmp_path, "one"))
    with machine.agent() as agent:
        SessionPoll(agent, api).poll()

        def dies(*_):
            machine.copy()
            raise Killed

        with monkeypatch.context() as patched:
            patched.setattr(run.follow, "until_end", dies)
            with pytest.raises(Killed):
                run.run_next(agent)
        machine.work(agent)
    machine.put_back()
    for directory in (tmp_path / "base" / "runs").iterdir():
        shutil.rmtree(directory)
    with machine.agent() as agent:
        machine.work(agent)
        assert not agent.records.jobs.has_open()
    assert ran(tmp_path) == ["one"]
    assert api.task(task.id).status is TaskStatus.COMPLETED


def test_script_that_still_runs_is_adopted_from_its_directory_alone(
    machine, api, file_task, tmp_path, monkeypatch
):
    with machine.agent() as agent:
        machine.work(agent)
        machine.copy()
        hold = f"while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; echo last line; exit 4"
        task = file_task(traced(tmp_path, "long", hold))
        SessionPoll(agent, api).poll()

        def dies(*_):
            raise Killed

        with monkeypatch.context() as patched:
            patched.setattr(run.follow, "until_end", dies)
            with pytest.raises(Killed):
                run.run_next(agent)
        uid = agent.records.runs.active()[1].uid
    wait_until(lambda: (tmp_path / "ran").exists(), "the script runs")
    machine.put_back()
    with machine.agent() as agent:
        recover.reconcile(agent)
        job, active = agent.records.runs.active()
        assert active.uid == uid
        assert "found" in [event.action for event in agent.records.journal.of_job(job.id)]
        (tmp_path / "go").touch()
        machine.work(agent)
    assert ran(tmp_path) == ["long"]
    # The old copy does not hold what would show whose record that is.
    assert (api.task(task.id).status, api.task(task.id).error_code) == (TaskStatus.FAILED, "LOST")
    assert api.statuses(task.id) == [TaskStatus.PROCESSING, TaskStatus.FAILED]
    assert api.log_text(task.id, "stdout") == "output of long\nlast line\n"
    assert marked_processes(uid) == []


@pytest.mark.parametrize("api_is_away", [False, True])
def test_run_that_is_found_on_disk_keeps_its_secrets_and_its_retry_rule(
    machine, api, file_task, tmp_path, monkeypatch, api_is_away
):
    def dies(*_):
        raise Killed

    with machine.agent() as agent:
        machine.work(agent)
        machine.copy()
        hold = f"while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; echo pass $DB_PASSWORD; exit 4"
        rule = {"env": {"DB_PASSWORD": "correct-horse-battery"}, "retry": {"count": 1, "delay": 0}}
        rule["retry"]["on"] = ["lost"]  # nothing shows any more how that run ended
        task = file_task(traced(tmp_path, "long", hold), parameters=rule)
        SessionPoll(agent, api).poll()
        with monkeypatch.context() as patched:
            patched.setattr(run.follow, "until_end", dies)
            with pytest.raises(Killed):
                run.run_next(agent)
    wait_until(lambda: (tmp_path / "ran").exists(), "the script runs")
    machine.put_back()
    if api_is_away:
        api.fail_next("task", errors.ApiUnreachable("away"))
    with machine.agent() as agent:
        recover.reconcile(agent)
        (tmp_path / "go").touch()
        machine.work(agent)
    tries = 1 if api_is_away else 2
    assert ran(tmp_path) == ["long"] * tries
    assert api.log_text(task.id, "stdout") == "output of long\npass ***\n" * tries


def test_retries_after_the_copy_are_all_found(machine, api, file_task, tmp_path):
    with machine.agent() as agent:
        machine.work(agent)
        machine.copy()
        task = file_task(
            traced(tmp_path, "again", '[ "$KERUTA_RUN_NUMBER" = 3 ]'),
            parameters={"retry": {"count": 2, "delay": 0}},
        )
        machine.work(agent)
    assert api.task(task.id).status is TaskStatus.COMPLETED
    before = list(api.status_writes)
    machine.put_back()
    with machine.agent() as agent:
        machine.work(agent)
        assert not agent.records.jobs.has_open()
    assert ran(tmp_path) == ["again"] * 3
    assert api.status_writes == before


def test_ended_run_is_reported_from_its_directory_when_the_api_cannot_be_asked(
    machine, api, file_task, tmp_path
):
    with machine.agent() as agent:
        machine.work(agent)
        machine.copy()
        task = file_task(traced(tmp_path, "one"))
        machine.work(agent)
    machine.put_back()
    api.fail_next("task", errors.ApiUnreachable("away"))
    with machine.agent() as agent:
        machine.work(agent)
        assert not agent.records.jobs.has_open()
    assert ran(tmp_path) == ["one"]
    assert api.statuses(task.id)[:2] == [TaskStatus.PROCESSING, TaskStatus.COMPLETED]
    assert api.task(task.id).status is TaskStatus.COMPLETED


def test_ad_hoc_job_of_the_copy_that_has_run_since_is_not_run_again(machine, tmp_path):
    with machine.agent() as agent:
        job_id = agent.records.jobs.record_script("mine", Work(script=traced(tmp_path, "mine")))
        machine.copy()
        machine.work(agent)
    machine.put_back()
    with machine.agent() as agent:
        machine.work(agent)
        assert agent.records.jobs.get(job_id).state is JobState.FINISHED
        assert agent.records.jobs.get(job_id).outcome == "lost"
    assert ran(tmp_path) == ["mine"]


@pytest.mark.parametrize("about", [None, "", "not json", "[]", '{"uid": "x"}'])
def test_directory_that_says_nothing_of_its_run_is_left_alone(machine, tmp_path, about):
    strange = tmp_path / "base" / "runs" / "strange"
    with machine.agent() as agent:
        strange.mkdir()
        (strange / "identity").write_text("1 1 boot\n")
        if about is not None:
            (strange / "about").write_text(about)
        recover.take_in_unknown_runs(agent)
        assert not agent.records.jobs.has_open()
    assert strange.exists()
