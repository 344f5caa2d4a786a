"""Scripts that spoil their own run directory: each ends, and the next job runs."""

from __future__ import annotations

import pytest

from keruta_agent.agent.journey import execute, run
from keruta_agent.agent.run.directory import LARGEST_SECRET, RunDirectory
from keruta_agent.agent.store.jobs import JobState, Work
from keruta_agent.core import errors
from keruta_agent.core.model import TaskStatus
from tests.helpers.agents import agent_in
from tests.helpers.waiting import wait_until

FILES = "agent secrets signals process identity about oom-before artifacts-before.json"
SPOILS = {
    "removes all": "rm -rf $KERUTA_RUN_DIR",
    "directories": f"for f in {FILES}; do rm -rf $f; mkdir $f; done",
    "garbage": f"for f in {FILES}; do head -c 3000 /dev/urandom > $f; done",
    "endless devices": f"for f in {FILES}; do rm -f $f; ln -s /dev/zero $f; done",
    "pipes": f"for f in {FILES} stdout stderr; do rm -f $f; mkfifo $f; done",
    "deep nesting": f"for f in {FILES}; do printf '[%.0s' $(seq 9000) > $f; echo >> $f; done",
    "larger than the memory": f"for f in {FILES} exit stdout stderr; do truncate -s 300G $f; done",
    "frozen shim": "kill -STOP $PPID",
}


@pytest.mark.parametrize("spoil", SPOILS.values(), ids=SPOILS)
def test_script_that_spoils_its_run_holds_up_nobody(tmp_path, spoil):
    with agent_in(tmp_path) as agent:
        agent.records.jobs.record_script("bad", Work(script=f"cd $KERUTA_RUN_DIR; {spoil}; exit 3"))
        agent.records.jobs.record_script("good", Work(script="exit 0"))
        while run.run_next(agent) is not None:
            pass
        states = [agent.records.jobs.get(number).state for number in (1, 2)]
        assert states == [JobState.FINISHED, JobState.FINISHED]
        assert agent.records.jobs.get(2).outcome == "succeeded"
        agent.launcher.close()


@pytest.mark.parametrize("instead", ["mkdir $KERUTA_RUN_DIR", "ln -s /etc $KERUTA_RUN_DIR"])
def test_script_that_replaces_its_run_directory_is_lost_and_not_taken_for_one_that_never_began(
    tmp_path, instead
):
    with agent_in(tmp_path) as agent:
        # Its shim has noted it, and may be writing there still: to remove it once is not enough.
        noted = "while [ ! -e $KERUTA_RUN_DIR/process ]; do sleep 0.01; done"
        gone = "while [ -e $KERUTA_RUN_DIR ]; do rm -rf $KERUTA_RUN_DIR; done"
        script = f"cd /; {noted}; {gone}; {instead}"
        agent.records.jobs.record_script("bad", Work(script=script))
        assert run.run_next(agent).outcome == "lost"
        agent.launcher.close()


@pytest.mark.parametrize("instead", ["mkdir $KERUTA_RUN_DIR", "ln -s /etc $KERUTA_RUN_DIR"])
def test_script_is_lost_that_replaces_its_run_directory_before_the_agent_looks(
    tmp_path, instead, monkeypatch
):
    real_start = execute.start

    def start_and_come_late(ctx, plan):
        shim = real_start(ctx, plan)
        wait_until(lambda: not shim.is_alive(), "the script has ended")
        return shim

    monkeypatch.setattr(execute, "start", start_and_come_late)
    with agent_in(tmp_path) as agent:
        gone = "while [ -e $KERUTA_RUN_DIR ]; do rm -rf $KERUTA_RUN_DIR; done"
        agent.records.jobs.record_script("bad", Work(script=f"cd /; {gone}; {instead}"))
        ended = run.run_next(agent)
        assert ended.outcome == "lost"
        assert "cannot read the output" in ended.message
        agent.launcher.close()


def test_frozen_shim_does_not_save_a_script_from_its_time_limit(tmp_path):
    with agent_in(tmp_path, task_timeout_s="300ms") as agent:
        agent.records.jobs.record_script("x", Work(script="kill -STOP $PPID; sleep 300"))
        assert run.run_next(agent).outcome == "timed_out"


def test_script_that_names_endless_secrets_is_refused(tmp_path):
    directory = RunDirectory(tmp_path)
    with pytest.raises(errors.UsageError, match="too large"):
        directory.add_secret("x" * (LARGEST_SECRET + 1))
    with pytest.raises(errors.UsageError, match="too many"):
        for number in range(1000):
            directory.add_secret(f"{number:0{LARGEST_SECRET}}")
    assert len(directory.read_secrets()) < 20


def test_task_that_is_spoilt_is_reported_to_the_api(api, file_task, run_all):
    task = file_task("cd $KERUTA_RUN_DIR; for f in *; do rm -rf $f; mkdir $f; done; sleep 0.3")
    run_all()
    assert api.task(task.id).status in (TaskStatus.COMPLETED, TaskStatus.FAILED)
