"""What a script writes in its run directory shows neither how it ended nor who looks after it."""

from __future__ import annotations

import json

import pytest

from keruta_agent.agent.journey import execute, recover, run
from keruta_agent.agent.journey.context import RunContext
from keruta_agent.agent.run import processes
from keruta_agent.agent.store.jobs import Work
from tests.helpers.waiting import wait_until

GOOD = json.dumps({"exit_code": 0, "started_at": 1, "ended_at": 2, "proof": "0" * 64})


@pytest.fixture
def submit(agent):
    def record(script, **fields):
        return agent.records.jobs.record_script("script", Work(script=script, **fields))

    return record


def ended(agent, job_id):
    return agent.records.runs.of_job(job_id)[-1]


@pytest.mark.parametrize(
    "forged",
    [GOOD, json.dumps({"exit_code": False, "started_at": 1, "ended_at": 2}), "{}", "[" * 9999],
)
def test_record_that_the_script_wrote_before_it_killed_its_shim_is_lost(agent, submit, forged):
    job_id = submit(f"echo '{forged}' > $KERUTA_RUN_DIR/exit; kill -9 $PPID; sleep 1000")
    run.run_next(agent)
    found = ended(agent, job_id)
    assert found.outcome == "lost"
    assert "not shown to be from there" in found.message
    assert processes.marked_processes(found.uid) == []


def test_record_is_written_whatever_stands_in_its_way(agent, submit):
    job_id = submit("mkfifo $KERUTA_RUN_DIR/exit.$PPID $KERUTA_RUN_DIR/exit; exit 3")
    run.run_next(agent)
    assert (ended(agent, job_id).outcome, ended(agent, job_id).exit_code) == ("failed", 3)


def test_signals_go_out_whatever_stands_in_the_way_of_their_note(agent, submit):
    job_id = submit(
        "rm -f $KERUTA_RUN_DIR/signals; mkfifo $KERUTA_RUN_DIR/signals; sleep 1000 & exit 0"
    )
    run.run_next(agent)
    assert ended(agent, job_id).outcome == "succeeded"


def test_time_limit_is_not_moved_by_what_the_script_says_of_its_process(agent, submit):
    job_id = submit(
        "echo $$ 99999999999 $(cat /proc/sys/kernel/random/boot_id) > $KERUTA_RUN_DIR/process;"
        "sleep 1000",
        parameters={"timeout": "1s"},
    )
    run.run_next(agent)
    assert ended(agent, job_id).outcome == "timed_out"


@pytest.mark.parametrize("forged", ["prevented", "1 1 boot", "-1 0 x", "9" * 400 + " 1 x"])
def test_script_is_adopted_whatever_it_says_of_who_looks_after_it(
    agent, submit, monkeypatch, tmp_path, forged
):
    class Killed(BaseException):
        pass

    def dies(*_):
        raise Killed

    job_id = submit(
        f"echo once >> {tmp_path}/ran; echo '{forged}' > $KERUTA_RUN_DIR/identity;"
        f"touch {tmp_path}/begun; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; exit 4"
    )
    with monkeypatch.context() as patched:
        patched.setattr(run.follow, "until_end", dies)
        with pytest.raises(Killed):
            run.run_next(agent)
    wait_until((tmp_path / "begun").exists, "the script runs")
    assert execute.is_running(RunContext.of_active(agent))
    (tmp_path / "go").touch()
    run.run_next(agent)
    assert (ended(agent, job_id).outcome, ended(agent, job_id).exit_code) == ("failed", 4)
    assert (tmp_path / "ran").read_text() == "once\n"


@pytest.mark.parametrize(
    "changes",
    [{"filed_at": "x"}, {"filed_at": 1e300}, {"priority": 10**30}, {"name": 5}, {"job_id": "1"}],
)
def test_daemon_starts_whatever_a_made_up_run_says_of_itself(agent, changes):
    made_up = agent.settings.base_dir / "runs" / "made-up"
    made_up.mkdir()
    about = {"uid": "u", "number": 1, "job_id": 1, "filed_at": 1, "task_id": "t"}
    about |= {"session_id": "s", "name": "n", "priority": 1, **changes}
    (made_up / "about").write_text(json.dumps(about))
    (made_up / "identity").write_text("1 1 boot\n")
    (made_up / "exit").write_text(GOOD)
    recover.reconcile(agent)
    assert not agent.records.jobs.has_open()
