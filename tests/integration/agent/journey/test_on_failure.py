"""What follows a failed run: another try, an auto-fix task, or the end."""

from __future__ import annotations

import logging

import pytest

from keruta_agent.agent.delivery import autofix
from keruta_agent.agent.journey import on_failure, run
from keruta_agent.agent.journey.context import RunContext
from keruta_agent.agent.journey.session.poll import SessionPoll
from keruta_agent.agent.store.jobs import JobState, StopKind, Work
from keruta_agent.agent.store.run import Outcome
from keruta_agent.core import model
from keruta_agent.core.model import TaskStatus
from keruta_agent.testing import InMemoryKerutaApi
from tests.helpers.agents import SESSION, agent_in
from tests.integration.agent.journey.conftest import deliver

AGAIN = {"count": 2, "delay": 0}


def run_to_the_end(agent) -> None:
    """Run jobs until none waits, for its turn or for its time."""
    while True:
        agent.records.jobs.wake_due()
        if run.run_next(agent) is None:
            return


def story(agent, job_id: int = 1) -> list[str]:
    return [event.action for event in agent.records.journal.of_job(job_id)]


def test_job_is_tried_again_until_it_succeeds_and_the_api_hears_of_one_end(
    api, agent, poll, file_task
):
    task = file_task(
        'echo "try $KERUTA_RUN_NUMBER"; [ $KERUTA_RUN_NUMBER = 3 ]', parameters={"retry": AGAIN}
    )
    poll.poll()
    run_to_the_end(agent)
    deliver(agent)
    assert api.statuses(task.id) == [TaskStatus.PROCESSING, TaskStatus.COMPLETED]
    assert api.log_text(task.id, "stdout") == "try 1\ntry 2\ntry 3\n"
    assert api.log_text(task.id, "agent").splitlines() == [
        "The run failed; the task is tried up to 2 times more, first in 0s. "
        "To stop that: parameters.retry: 0 of the task",
        "Run 2 of the task begins",
        "Run 3 of the task begins",
    ]
    assert story(agent).count("retry") == 2


def test_job_that_fails_at_every_try_is_reported_as_failed_once(api, agent, poll, file_task):
    task = file_task("echo broken >&2; exit 75", parameters={"retry": AGAIN})
    poll.poll()
    run_to_the_end(agent)
    deliver(agent)
    assert api.statuses(task.id) == [TaskStatus.PROCESSING, TaskStatus.FAILED]
    assert (api.task(task.id).error_code, len(agent.records.runs.of_job(1))) == ("EXIT_75", 3)


@pytest.mark.parametrize(
    ("script", "rule"),
    [
        ("exit 1", {"count": 2, "on": ["exit:75"], "delay": 0}),
        ("exit 1", {"count": 2, "on": ["lost", "timeout"], "delay": 0}),
        ("keruta fail --message no", AGAIN),
        ("keruta fail --message no; exit 3", AGAIN),
        ("#!/no/such/program", AGAIN),
    ],
)
def test_end_that_the_rule_does_not_mean_stands(agent, poll, file_task, script, rule):
    file_task(script, parameters={"retry": rule})
    poll.poll()
    run_to_the_end(agent)
    assert len(agent.records.runs.of_job(1)) == 1
    assert agent.records.jobs.get(1).state is JobState.FINISHED
    assert "retry" not in story(agent)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("keruta fail --message no", "reported"),
        ("exit 75", "exit:75"),
        ("kill -9 $$", "signal:9"),
        ("#!/no/such/program", "not_started"),
    ],
)
def test_end_that_the_rule_names_is_tried_again(agent, poll, file_task, script, reason):
    file_task(script, parameters={"retry": {"count": 1, "on": [reason], "delay": 0}})
    poll.poll()
    run_to_the_end(agent)
    assert len(agent.records.runs.of_job(1)) == 2


def test_invalid_rule_is_logged_and_nothing_is_tried_again(api, agent, poll, file_task, caplog):
    task = file_task("exit 1", parameters={"retry": {"count": "often"}})
    poll.poll()
    run_to_the_end(agent)
    deliver(agent)
    assert api.task(task.id).status is TaskStatus.FAILED
    assert len(agent.records.runs.of_job(1)) == 1
    [event] = [e for e in agent.records.journal.of_job(1) if e.action == "retry_rule_wrong"]
    assert "whole number" in event.detail["reason"]
    assert "its rule is invalid" in caplog.text


def test_cancel_that_comes_after_the_script_failed_is_obeyed(
    api, agent, poll, file_task, monkeypatch
):
    task = file_task("exit 1", parameters={"retry": AGAIN})
    poll.poll()
    collect = run.collect.copy_artifacts

    def cancelled(ctx):
        assert agent.records.runs.cancel_job(1, "enough") is JobState.RUNNING
        return collect(ctx)

    monkeypatch.setattr(run.collect, "copy_artifacts", cancelled)
    run_to_the_end(agent)
    deliver(agent)
    assert len(agent.records.runs.of_job(1)) == 1
    assert api.task(task.id).status is TaskStatus.FAILED


def test_end_whose_decision_was_cut_off_is_stored_with_it_by_the_next_agent(
    agent, poll, file_task, monkeypatch, tmp_path
):
    file_task(f"echo ran >> {tmp_path}/runs; exit 1", parameters={"retry": AGAIN})
    poll.poll()
    with monkeypatch.context() as patched:
        patched.setattr(
            agent.records.jobs, "schedule", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt)
        )
        with pytest.raises(KeyboardInterrupt):
            run.run_next(agent)
    assert agent.records.jobs.get(1).state is JobState.RUNNING
    assert not {"ended", "retry"} & set(story(agent))
    run.run_next(agent)
    assert agent.records.jobs.get(1).state is JobState.SCHEDULED
    assert story(agent).count("retry") == 1
    assert (tmp_path / "runs").read_text() == "ran\n"


def test_failure_is_announced_and_a_success_is_not(agent):
    for script in ("exit 1", "true"):
        agent.records.jobs.record_script("x", Work(script=script))
    run_to_the_end(agent)
    assert agent.queue.failed == [1]


def test_retried_job_runs_before_younger_ones(agent, poll, file_task):
    file_task('[ "$KERUTA_RUN_NUMBER" = 2 ]', parameters={"retry": AGAIN}, name="first")
    file_task("true", name="second")
    poll.poll()
    run_to_the_end(agent)
    directories = (agent.settings.base_dir / "runs").iterdir()
    runs = agent.records.runs.ended_in(path.name for path in directories)
    order = [(agent.records.jobs.get(ended.job_id).name, ended.number) for ended in runs]
    assert order == [("first", 1), ("first", 2), ("second", 1)]


def test_retry_does_not_begin_before_the_last_process_of_the_run_before_is_gone(
    agent, poll, file_task, tmp_path
):
    lingering = f"(trap '' TERM; echo $BASHPID >> {tmp_path}/pids; while :; do sleep 1; done) &"
    file_task(
        f'for pid in $(cat {tmp_path}/pids); do kill -0 "$pid" && touch {tmp_path}/met; done\n'
        f"{lingering}\nwhile [ $(wc -l < {tmp_path}/pids) -lt $KERUTA_RUN_NUMBER ]; do :; done\n"
        "exit 1",
        parameters={"retry": {"count": 2, "delay": 0}},
    )
    (tmp_path / "pids").touch()
    poll.poll()
    run_to_the_end(agent)
    assert len((tmp_path / "pids").read_text().splitlines()) == 3
    assert not (tmp_path / "met").exists()


def test_run_of_an_ad_hoc_script_that_asks_for_it_is_tried_again(agent):
    work = Work(script='[ "$KERUTA_RUN_NUMBER" = 2 ]', parameters={"retry": AGAIN})
    job_id = agent.records.jobs.record_script("x", work)
    run_to_the_end(agent)
    assert agent.records.jobs.get(job_id).outcome == "succeeded"


# Auto-fix.


@pytest.fixture(params=[(), ("request_auto_fix",), ("request_auto_fix", "create_subtask")])
def fixing(request, tmp_path):
    """An agent that asks for auto-fix tasks, at servers with ever fewer routes for that."""
    api = InMemoryKerutaApi(without=request.param)
    api.add_session(SESSION)
    with agent_in(tmp_path, api, session_id=SESSION, auto_fix="true") as agent:
        yield api, agent, SessionPoll(agent, api)


def live(api, agent, poll) -> None:
    """Poll, run and delivers until nothing new comes."""
    known = -1
    while known != len(api.tasks):
        known = len(api.tasks)
        poll.poll()
        run_to_the_end(agent)
        deliver(agent)


def fixes(api) -> list:
    return [task for task in api.tasks.values() if task.parameters.get("autoFix")]


def test_chain_of_fixes_that_fail_each_in_its_own_way_is_bounded(fixing):
    api, agent, poll = fixing
    # The words differ from try to try; mere numbers would count as the same failure.
    failed = api.add_task(
        SESSION,
        'set -- none one two three four; shift "${KERUTA_FIX_COUNT:-0}"; '
        'echo "failure $1" >&2; exit 1',
        name="broken",
    )
    live(api, agent, poll)
    assert [task.parameters["fixCount"] for task in fixes(api)] == [1, 2, 3]
    assert {task.parameters["originalTaskId"] for task in fixes(api)} == {failed.id}
    assert all(task.status is TaskStatus.FAILED for task in api.tasks.values())


def test_same_failure_twice_in_a_chain_ends_it_and_the_journal_says_so(fixing):
    api, agent, poll = fixing
    api.add_task(SESSION, "echo 'always the same' >&2; exit 1", name="broken")
    live(api, agent, poll)
    assert len(fixes(api)) == 1
    assert "auto_fix" in story(agent, 1)
    assert "auto_fix" not in story(agent, 2)
    [event] = [e for e in agent.records.journal.of_job(2) if e.action == "no_auto_fix"]
    assert event.detail["reason"] == "the same failure twice"


def test_breadth_below_the_first_task_is_bounded_too():
    api = InMemoryKerutaApi(without=["request_auto_fix"])
    api.add_session(SESSION)
    root = api.add_task(SESSION, "exit 1", name="root", status=TaskStatus.FAILED)
    for number in range(6):
        autofix.request(
            api, root.id, error_message=f"way {number}", error_code="EXIT_1", key=f"{number}"
        )
    assert len(api.subtasks(root.id)) == model.MOST_AUTO_FIXES


def test_fix_is_asked_for_after_the_last_try_only(fixing):
    api, agent, poll = fixing
    api.add_task(
        SESSION,
        'echo run >> "$PWD/runs"; [ -n "$KERUTA_AUTO_FIX" ] || exit 1',
        parameters={"retry": AGAIN},
    )
    live(api, agent, poll)
    assert len(agent.records.runs.of_job(1)) == 3
    assert [task.status for task in fixes(api)] == [TaskStatus.COMPLETED]


@pytest.mark.parametrize(
    "kind", [StopKind.CANCELLED, StopKind.AGENT_STOPPED, StopKind.REFUSED], ids=str
)
def test_stop_that_somebody_wanted_is_never_fixed(fixing, kind, monkeypatch):
    api, agent, poll = fixing
    api.add_task(SESSION, "echo begun; sleep 300")
    poll.poll()
    original = agent.records.runs.started

    def stop_at_once(job, *rest):
        original(job, *rest)
        agent.records.jobs.request_stop(job.id, kind, "somebody wants it")

    monkeypatch.setattr(agent.records.runs, "started", stop_at_once)
    run_to_the_end(agent)
    deliver(agent)
    assert len(api.tasks) == 1
    assert "auto_fix" not in story(agent)


@pytest.mark.parametrize("outcome", list(Outcome))
def test_only_a_failure_of_the_script_itself_is_fixed(agent, outcome):
    agent.records.jobs.record_script("x", Work(script="true"))
    ctx = RunContext(agent, *agent.records.runs.claim_next())
    agent.records.runs._update(ctx.run.id, outcome=outcome.value, wants_auto_fix=1)
    ctx.refresh()
    fixable = outcome in (
        Outcome.FAILED,
        Outcome.KILLED,
        Outcome.TIMED_OUT,
        Outcome.OUT_OF_MEMORY,
    )
    assert on_failure._wants_auto_fix(ctx) is fixable


def test_script_may_ask_for_a_fix_where_the_settings_do_not(api, agent, poll, file_task):
    file_task('[ -n "$KERUTA_AUTO_FIX" ] || keruta fail --message bad --auto-fix')
    live(api, agent, poll)
    assert len(fixes(api)) == 1


def test_success_leaves_no_noise(agent, poll, file_task, caplog):
    file_task("true")
    poll.poll()
    run_to_the_end(agent)
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    assert agent.records.runs.active() is None
