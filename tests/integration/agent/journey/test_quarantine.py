"""A run at which the agent fails three times is quarantined, and others go on."""

from __future__ import annotations

import sqlite3

import pytest

from keruta_agent.agent.journey import announce, collect, finish, prepare, quarantine, run
from keruta_agent.agent.journey.observe import ingest
from keruta_agent.agent.run import processes
from keruta_agent.agent.store.jobs import JobState
from keruta_agent.agent.store.run import Outcome
from keruta_agent.core.model import TaskStatus
from tests.helpers.waiting import wait_until
from tests.integration.agent.journey.conftest import deliver


class Killed(BaseException):
    """Stands for kill -9: nothing of the agent catches it."""


@pytest.fixture
def deadly(monkeypatch):
    """Return what makes the agent die whenever it comes to a function."""

    def kill(module, name) -> None:
        def dies(*args, **kwargs):
            raise Killed

        monkeypatch.setattr(module, name, dies)

    return kill


@pytest.mark.parametrize(
    ("module", "name", "runs"),
    [(prepare, "plan", 0), (collect, "copy_artifacts", 1), (finish, "judge", 1)],
)
def test_job_that_brings_the_agent_down_three_times_is_quarantined(
    api, agent, poll, file_task, deadly, tmp_path, module, name, runs
):
    task = file_task(f"echo ran >> {tmp_path}/runs", parameters={"retry": 5})
    after = file_task("true")
    poll.poll()
    deadly(module, name)
    for _ in range(quarantine.MOST_FAILURES):
        with pytest.raises(Killed):
            run.run_next(agent)
    assert run.run_next(agent).outcome is Outcome.QUARANTINED
    deliver(agent)
    stored = api.task(task.id)
    assert (stored.status, stored.error_code) == (TaskStatus.FAILED, "PARKED")
    assert "failed at it 3 times" in stored.message and "the agent ended while" in stored.message
    assert agent.records.jobs.get(1).state is JobState.FINISHED
    assert agent.directory_of(agent.records.runs.of_job(1)[0]).path.exists() is bool(runs), (
        "the evidence"
    )
    if runs:
        assert (tmp_path / "runs").read_text() == "ran\n"
    assert agent.records.runs.claim_next()[0].task_id == after.id


def test_script_of_a_quarantined_run_does_not_go_on(agent, poll, file_task, monkeypatch):
    file_task("trap '' TERM; echo begun; sleep 300")
    poll.poll()
    failures = iter([ValueError("bug 1"), ValueError("bug 2"), ValueError("bug 3")])

    def fails(*_):
        raise next(failures)

    monkeypatch.setattr(run.follow, "until_end", fails)
    for _ in range(quarantine.MOST_FAILURES):
        with pytest.raises(ValueError, match="bug") as failure:
            run.run_next(agent)
        assert quarantine.count_failure(agent, failure.value)
    uid = agent.records.runs.active()[1].uid
    result = run.run_next(agent)
    assert result.outcome == "parked"
    assert result.message.endswith("ValueError: bug 3")
    # The shim itself may just be finding out that it came too late.
    wait_until(lambda: not processes.marked_processes(uid), "nothing of the run is left")


def test_agent_that_is_killed_while_it_follows_a_script_is_not_the_scripts_fault(
    agent, poll, file_task, monkeypatch, tmp_path
):
    file_task(f"while [ ! -e {tmp_path}/go ]; do sleep 0.02; done")
    poll.poll()
    look = ingest.Ingester.store_new

    def dies(ingester, **options):
        if agent.records.runs.active()[1].shim_pid is not None:  # the script was seen to run
            raise Killed
        return look(ingester, **options)

    monkeypatch.setattr(ingest.Ingester, "store_new", dies)
    for _ in range(quarantine.MOST_FAILURES + 2):
        with pytest.raises(Killed):
            run.run_next(agent)
    monkeypatch.setattr(ingest.Ingester, "store_new", look)
    (tmp_path / "go").touch()
    assert run.run_next(agent).outcome == "succeeded"


def test_failures_are_forgotten_once_the_script_has_started(
    agent, poll, file_task, monkeypatch, tmp_path
):
    file_task(f"echo ran >> {tmp_path}/runs")
    poll.poll()

    def dies(*_):
        raise Killed

    for module, name in ((announce, "announce"), (finish, "judge")):
        with monkeypatch.context() as patched:
            patched.setattr(module, name, dies)
            for _ in range(quarantine.MOST_FAILURES - 1):
                with pytest.raises(Killed):
                    run.run_next(agent)
    assert run.run_next(agent).outcome == "succeeded"
    assert (tmp_path / "runs").read_text() == "ran\n"


@pytest.mark.parametrize("why", ["database or disk is full", "database is locked"])
def test_failure_that_cannot_be_counted_is_said(agent, poll, file_task, monkeypatch, caplog, why):
    file_task("true")
    poll.poll()
    agent.records.runs.claim_next()

    def full(*_):
        raise sqlite3.OperationalError(why)

    with monkeypatch.context() as patched:
        patched.setattr(agent.records.runs, "agent_failed", full)
        assert not quarantine.count_failure(agent, ValueError("bug"))
    assert why in caplog.text
    assert agent.records.runs.active()[1].agent_failures == 0
    quarantine.forget_stage(agent)
    assert agent.records.runs.active()[1].stage is None


def test_agent_that_is_killed_right_after_it_started_scripts_has_not_failed_at_them(
    agent, poll, file_task, monkeypatch, tmp_path
):
    file_task(f"echo ran >> {tmp_path}/runs")
    poll.poll()

    def dies(*_):
        raise Killed

    for module, name in ((prepare, "plan"), (prepare, "plan"), (run.follow, "until_end")):
        with monkeypatch.context() as patched, pytest.raises(Killed):
            patched.setattr(module, name, dies)
            run.run_next(agent)
    wait_until((tmp_path / "runs").exists, "the script was started")

    assert run.run_next(agent).outcome == "succeeded"
    assert (tmp_path / "runs").read_text() == "ran\n"


def test_agent_that_is_killed_while_it_waits_for_the_api_has_not_failed_at_the_run(
    agent, poll, file_task, monkeypatch
):
    file_task("true")
    poll.poll()

    def dies(*_):
        raise Killed

    for _ in range(quarantine.MOST_FAILURES + 2):
        with monkeypatch.context() as patched, pytest.raises(Killed):
            patched.setattr(announce, "announce", dies)
            run.run_next(agent)

    assert run.run_next(agent).outcome == "succeeded"
