"""What a daemon finds when the one before it was killed, at each line where that can be."""

from __future__ import annotations

import os
import shutil
import signal

import pytest

from keruta_agent.agent.journey import announce, execute, finish, on_failure, prepare, recover, run
from keruta_agent.agent.run.launch import Launcher
from keruta_agent.agent.store.jobs import JobState
from keruta_agent.agent.store.run import Outcome
from keruta_agent.core.model import TaskStatus
from keruta_agent.core.process_tree.proc import process_state
from tests.helpers.agents import SESSION, agent_in
from tests.helpers.waiting import wait_until
from tests.integration.agent.journey.conftest import deliver


class Killed(BaseException):
    """Stands for kill -9: nothing of the agent catches it."""


@pytest.fixture
def killed_at(monkeypatch):
    """Make the agent die when it comes to a function, before or after its work."""

    def kill(module, name, *, after: bool = False) -> None:
        original = getattr(module, name)

        def dies(*args, **kwargs):
            monkeypatch.setattr(module, name, original)
            if after:
                original(*args, **kwargs)
            raise Killed

        monkeypatch.setattr(module, name, dies)

    return kill


@pytest.mark.parametrize(
    ("module", "name", "after"),
    [
        (announce, "announce", False),
        (announce, "announce", True),
        (prepare, "plan", False),
        (prepare, "plan", True),
        (Launcher, "start", False),
        (Launcher, "start", True),
        (execute, "start", True),
        (finish, "judge", False),
        (finish, "store", False),
        (finish, "store", True),
    ],
)
def test_script_runs_exactly_once_wherever_the_agent_was_killed(
    api, agent, poll, file_task, killed_at, tmp_path, module, name, after
):
    task = file_task(f"echo ran >> {tmp_path}/runs; echo line one; sleep 0.2; echo line two")
    poll.poll()
    killed_at(module, name, after=after)
    with pytest.raises(Killed):
        run.run_next(agent)
    agent.records.database.close()
    with agent_in(tmp_path, api, session_id=SESSION) as successor:
        recover.reconcile(successor)
        while run.run_next(successor) is not None:
            pass
        deliver(successor)
    assert (tmp_path / "runs").read_text() == "ran\n"
    assert api.statuses(task.id) == [TaskStatus.PROCESSING, TaskStatus.COMPLETED]
    assert api.log_text(task.id) == "line one\nline two\n"


def test_run_whose_processes_were_all_killed_is_lost(api, agent, poll, file_task, killed_at):
    task = file_task("echo before; sleep 300")
    poll.poll()
    killed_at(execute, "start", after=True)
    with pytest.raises(Killed):
        run.run_next(agent)
    _, active = agent.records.runs.active()
    directory = agent.directory_of(active)
    script = wait_until(directory.read_process, "the script runs")
    wait_until(lambda: (directory.path / "stdout").read_bytes(), "it has written")
    os.kill(directory.read_identity().pid, signal.SIGKILL)
    ended = run.run_next(agent)
    assert ended.outcome is Outcome.LOST
    assert process_state(script.pid) is None or process_state(script.pid)[0] == "Z"
    recover.reconcile(agent)
    deliver(agent)
    assert api.task(task.id).error_code == "LOST"
    assert api.log_text(task.id) == "before\n"


def test_run_from_before_a_reboot_is_lost_and_says_why(api, agent, poll, file_task, killed_at):
    file_task("true")
    poll.poll()
    killed_at(Launcher, "start")
    with pytest.raises(Killed):
        run.run_next(agent)
    directory = agent.directory_of(agent.records.runs.active()[1])
    directory.identity.write_text("4242 17 00000000-0000-0000-0000-000000000000\n")
    ended = run.run_next(agent)
    assert ended.outcome is Outcome.LOST
    assert ended.message == "The machine was restarted while the script ran"


def test_failure_that_an_older_agent_left_undecided_is_decided_at_the_start(
    api, agent, poll, file_task, monkeypatch
):
    task = file_task("exit 5")
    poll.poll()
    with monkeypatch.context() as patched:
        patched.setattr(on_failure, "decide", lambda _: None)
        run.run_next(agent)
    assert agent.records.jobs.by_task(task.id).state is JobState.FAILING
    recover.reconcile(agent)
    recover.reconcile(agent)
    deliver(agent)
    assert api.statuses(task.id) == [TaskStatus.PROCESSING, TaskStatus.FAILED]


def test_active_run_goes_on_first_then_what_waits_in_its_order(
    api, agent, poll, file_task, killed_at
):
    first = file_task("true", priority=9)
    low, high = file_task("true"), file_task("true", priority=5)
    poll.poll()
    killed_at(announce, "announce")
    with pytest.raises(Killed):
        run.run_next(agent)
    recover.reconcile(agent)
    order = []
    while run.has_next(agent):
        order.append(agent.records.runs.active() or agent.records.jobs.next_waiting())
        run.run_next(agent)
    ids = [each[0].task_id if isinstance(each, tuple) else each.task_id for each in order]
    assert ids == [first.id, high.id, low.id]


def test_old_run_directories_are_removed_by_age(api, agent, file_task, run_all, tmp_path):
    file_task("echo hi")
    run_all()
    with agent_in(tmp_path, api, runs_keep_age_s="0s") as later:
        assert recover.remove_old_runs(later) == 1
        assert list((tmp_path / "base" / "runs").iterdir()) == []


@pytest.mark.parametrize(
    "leave",
    [
        "for i in range(1500): os.mkdir('d'); os.chdir('d')",
        "os.mkdir('closed'); open('closed/file', 'w').close(); os.chmod('closed', 0)",
    ],
)
def test_old_run_directory_goes_whatever_its_script_left_there(
    api, agent, file_task, run_all, tmp_path, leave
):
    file_task(f"#!/usr/bin/env python3\nimport os; os.chdir(os.environ['KERUTA_RUN_DIR']); {leave}")
    run_all()
    with agent_in(tmp_path, api, runs_keep_age_s="0s") as later:
        assert recover.remove_old_runs(later) == 1
        assert list((tmp_path / "base" / "runs").iterdir()) == []


def test_run_directories_are_removed_by_total_size_the_oldest_first(
    api, agent, file_task, run_all, tmp_path
):
    for _ in range(3):
        file_task("head -c 100000 /dev/zero")
    run_all()
    newest = agent.records.runs.of_job(3)[0].directory
    with agent_in(tmp_path, api, runs_keep_size="150KB") as later:
        assert recover.remove_old_runs(later) == 2
        assert [path.name for path in (tmp_path / "base" / "runs").iterdir()] == [newest]


def test_run_that_ended_in_the_future_by_a_clock_set_back_since_counts_too(
    api, agent, file_task, run_all, tmp_path
):
    file_task("head -c 100000 /dev/zero")
    run_all()
    with agent.records.database.transaction() as connection:
        connection.execute("UPDATE runs SET ended_at = ended_at + 1e8")
    with agent_in(tmp_path, api, runs_keep_size="50KB") as later:
        assert recover.remove_old_runs(later) == 1


def test_large_runs_are_removed_early_to_make_space_for_the_reserve(
    api, agent, file_task, run_all, monkeypatch
):
    for size in (300_000, 10, 300_000):
        file_task(f"head -c {size} /dev/zero | tr '\\0' 'x'")
    run_all()
    answers = iter([False, True])  # the first that is removed makes enough room
    monkeypatch.setattr(agent.disk, "hold_reserve", lambda: next(answers))
    kept = [agent.records.runs.of_job(number)[0].directory for number in (2, 3)]
    assert recover.remove_old_runs(agent) == 1
    found = sorted(path.name for path in (agent.settings.base_dir / "runs").iterdir())
    assert found == sorted(kept)


def test_run_that_is_not_reported_yet_is_kept(api, agent, poll, file_task, tmp_path):
    file_task("echo hi")
    poll.poll()
    run.run_next(agent)
    with agent_in(tmp_path, api, runs_keep_age_s="0s") as later:
        assert recover.remove_old_runs(later) == 0


def test_run_directory_that_vanished_is_no_reason_to_fail(api, agent, poll, file_task, killed_at):
    task = file_task("echo hi")
    poll.poll()
    killed_at(Launcher, "start")
    with pytest.raises(Killed):
        run.run_next(agent)
    shutil.rmtree(agent.directory_of(agent.records.runs.active()[1]).path)
    run.run_next(agent)
    deliver(agent)
    assert api.task(task.id).status is TaskStatus.COMPLETED
