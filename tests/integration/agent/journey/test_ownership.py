"""One task, one owner: what an agent does and leaves alone when there is another one."""

from __future__ import annotations

import logging
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from keruta_agent.agent.journey import claim, run
from keruta_agent.agent.journey.agent import Agent
from keruta_agent.agent.journey.context import RunContext
from keruta_agent.agent.journey.session.poll import SessionPoll
from keruta_agent.agent.store.jobs import JobState, StopKind, Work
from keruta_agent.agent.store.run import Outcome
from keruta_agent.core import errors
from keruta_agent.core.model import AgentRole, TaskStatus
from keruta_agent.testing import InMemoryKerutaApi
from tests.helpers.agents import SESSION, agent_in
from tests.integration.agent.journey.conftest import let_time_pass

AWAY = errors.ApiUnreachable("no route")


@pytest.fixture
def other(tmp_path: Path, api: InMemoryKerutaApi) -> Iterator[Agent]:
    """A second agent of the session, in a base directory of its own."""
    with agent_in(tmp_path / "other", api, session_id=SESSION) as found:
        yield found


def _special(directory: str, names: list[str]) -> set[str]:
    """Name what cannot be copied."""
    return {name for name in names if name in ("stdin", "agent.sock")}


def _run_out(agent: Agent) -> None:
    """Run what can be run now."""
    while agent.records.runs.active() or agent.records.jobs.waiting_ids():
        if run.run_next(agent) is None:
            return


def _beat(agent: Agent) -> None:
    agent.ownership._heartbeat_due = 0.0
    agent.ownership.heartbeat(SESSION)


def test_second_agent_says_so_and_takes_nothing_until_the_first_is_silent(
    api, agent, poll, other, file_task, caplog
):
    task = file_task("true")
    poll.poll()
    second = SessionPoll(other, api)

    second.poll()

    [warning] = [each for each in caplog.records if each.action == "standby"]
    assert agent.ownership.identity.id in warning.getMessage()
    assert warning.levelno == logging.WARNING
    assert agent.ownership.identity.id in (other.ownership.standby or "")
    assert other.records.jobs.listing() == []

    api.agents.silence(agent.ownership.identity.id)
    other.ownership._heartbeat_due = 0.0
    second.poll()
    _run_out(other)
    assert (other.ownership.standby, other.records.jobs.by_task(task.id).outcome) == (
        None,
        "succeeded",
    )


def test_agent_that_was_silent_leaves_what_the_other_one_has_taken(
    api, agent, poll, other, file_task, tmp_path, caplog
):
    task = file_task(f"echo ran >> {tmp_path}/runs")
    poll.poll()
    api.agents.silence(agent.ownership.identity.id)
    SessionPoll(other, api).poll()
    other.records.runs.claim_next()
    claim.obtain(RunContext.of_active(other))  # claimed, and not yet begun

    _run_out(agent)

    job = agent.records.jobs.by_task(task.id)
    assert (job.state, job.outcome) == (JobState.FINISHED, Outcome.REFUSED)
    assert other.ownership.identity.id in job.message
    assert "task_left_alone" in [each.action for each in caplog.records if hasattr(each, "action")]
    _run_out(other)
    assert (tmp_path / "runs").read_text() == "ran\n"
    assert agent.records.outbox.counts().pending == 0, "nothing of it goes to the API"


def test_standby_goes_on_with_the_retry_of_a_task_that_it_has(api, agent, poll, other, file_task):
    task = file_task("[ $KERUTA_RUN_NUMBER = 2 ]", parameters={"retry": {"count": 1, "delay": 0}})
    new = file_task("true")
    poll.poll()
    run.run_next(agent)
    api.agents.silence(agent.ownership.identity.id)
    _beat(other)
    _beat(agent)
    assert agent.ownership.standby is not None

    let_time_pass(agent)
    _run_out(agent)

    assert agent.records.jobs.by_task(task.id).outcome == "succeeded"
    assert agent.records.jobs.by_task(new.id).state is JobState.WAITING


def test_standby_goes_on_with_a_task_whose_claim_was_answered_to_nobody(
    api, agent, poll, other, file_task
):
    task, new = file_task("true"), file_task("true")
    poll.poll()
    api.fail_next("claim_task", AWAY, after_acting=True)
    assert run.run_next(agent) is None
    api.agents.silence(agent.ownership.identity.id)
    _beat(other)
    _beat(agent)
    assert agent.ownership.standby is not None
    let_time_pass(agent)
    _run_out(agent)
    assert agent.records.jobs.by_task(task.id).state is JobState.WAITING
    agent.queue.wakes = 0

    poll.poll()
    assert agent.queue.wakes == 1
    _run_out(agent)

    assert agent.records.jobs.by_task(task.id).outcome == "succeeded"
    assert agent.records.jobs.by_task(new.id).state is JobState.WAITING


def test_task_that_a_person_released_is_taken_again(api, agent, poll, other, file_task):
    task = file_task("true")
    poll.poll()
    api.claim_task(task.id, other.ownership.identity, run="lost", begun=False)
    _run_out(agent)
    poll.poll()
    _run_out(agent)
    assert agent.records.jobs.by_task(task.id).outcome == "refused"

    api.release_claim(task.id)
    poll.poll()
    _run_out(agent)

    assert api.task(task.id).status is TaskStatus.PROCESSING
    assert agent.records.jobs.by_task(task.id).outcome == "succeeded"


def test_task_that_another_agent_has_claimed_is_not_even_recorded(
    api, agent, poll, other, file_task
):
    task = file_task("true")
    api.claim_task(task.id, other.ownership.identity, run="r", begun=False)
    poll.poll()
    assert agent.records.jobs.by_task(task.id) is None


@pytest.mark.parametrize("error", [AWAY, errors.ApiAmbiguous("lost"), errors.ApiFailed("broken")])
def test_task_that_cannot_be_claimed_now_goes_back_to_its_place(
    api, agent, poll, file_task, error, caplog
):
    first, second = file_task("true"), file_task("true")
    poll.poll()
    api.fail_next("claim_task", error)

    assert run.run_next(agent) is None
    assert run.run_next(agent) is None, "the next one is held back as well"
    assert api.statuses(first.id) == api.statuses(second.id) == []
    assert agent.records.runs.of_job(1) == []

    let_time_pass(agent)
    agent.queue.wakes = 0
    _run_out(agent)
    agent.outbox_sender.deliver(30)
    assert [job for job, _ in api.status_writes if job == first.id]
    assert [api.task(each.id).status for each in (first, second)] == [TaskStatus.COMPLETED] * 2
    assert api.statuses(first.id)[0] is TaskStatus.PROCESSING, "its first run is the first one"


def test_jobs_that_were_withheld_are_looked_at_again_once_the_api_answers(
    api, agent, poll, file_task
):
    file_task("true")
    other_job = agent.records.jobs.record_script("ad hoc", Work(script="true"))
    poll.poll()
    api.fail_next("claim_task", AWAY)
    agent.records.jobs.set_priority(other_job, -1)
    run.run_next(agent)
    run.run_next(agent)
    assert agent.records.jobs.get(other_job).outcome == "succeeded", "what is nobody else's runs"
    file_task("true")
    let_time_pass(agent)
    agent.queue.wakes = 0

    poll.poll()

    assert agent.queue.wakes


def test_cancelled_task_does_not_wait_for_its_claim(api, agent, poll, file_task):
    file_task("true")
    poll.poll()
    original = api.claim_task

    def cancels(*args, **kwargs):
        agent.stops.request(1, StopKind.CANCELLED, "enough")
        raise AWAY

    api.claim_task = cancels
    assert run.run_next(agent).outcome is Outcome.CANCELLED
    api.claim_task = original


def test_outage_at_the_start_of_a_daemon_does_not_make_it_run_unclaimed(
    api, agent, poll, file_task, tmp_path
):
    task = file_task("true")
    poll.poll()
    agent.records.database.close()
    with agent_in(tmp_path, api, session_id=SESSION) as successor:
        api.fail_next("claim_task", AWAY)
        assert run.run_next(successor) is None
        assert successor.records.jobs.by_task(task.id).state is JobState.SCHEDULED


def test_claim_that_a_killed_agent_made_is_kept_by_the_next_one(
    api, agent, poll, file_task, tmp_path
):
    task = file_task("true")
    poll.poll()
    _, active = agent.records.runs.claim_next()
    api.claim_task(task.id, agent.ownership.identity, run=active.uid, begun=False)
    agent.records.database.close()
    with agent_in(tmp_path, api, session_id=SESSION) as successor:
        assert successor.ownership.identity == agent.ownership.identity
        assert run.run_next(successor).outcome is Outcome.SUCCEEDED
    assert api.claims == [(task.id, agent.ownership.identity.id, active.uid)]


def test_copy_of_a_base_directory_stands_by_and_waits_with_its_retries(
    api, agent, poll, file_task, tmp_path
):
    task = file_task("exit 1", parameters={"retry": {"count": 1, "delay": 0}})
    poll.poll()
    run.run_next(agent)
    shutil.copytree(tmp_path / "base", tmp_path / "copy" / "base", ignore=_special)
    with agent_in(tmp_path / "copy", api, session_id=SESSION) as copy:
        assert copy.ownership.identity.id == agent.ownership.identity.id
        assert copy.ownership.identity.instance != agent.ownership.identity.instance
        SessionPoll(copy, api).poll()
        assert copy.ownership.standby is not None
        let_time_pass(copy)
        assert run.run_next(copy) is None
        assert copy.records.jobs.by_task(task.id).state is JobState.SCHEDULED

        api.agents.silence(agent.ownership.identity.id)
        let_time_pass(copy)
        assert run.run_next(copy).outcome is Outcome.FAILED


@pytest.mark.parametrize("how", ["deleted", "cancelled"])
@pytest.mark.parametrize("claims", [True, False])
def test_task_that_ends_at_the_api_while_it_waits_for_its_retry_does_not_run_again(
    api, agent, poll, file_task, tmp_path, how, claims
):
    if not claims:
        api.lacking |= {"register_agent", "claim_task"}
    task = file_task(
        f"echo ran >> {tmp_path}/runs; exit 1", parameters={"retry": {"count": 1, "delay": 0}}
    )
    poll.poll()
    run.run_next(agent)
    if how == "deleted":
        del api.tasks[task.id]
    else:
        api.set_status(task.id, TaskStatus.CANCELLED)

    let_time_pass(agent)
    assert run.run_next(agent).outcome is Outcome.REFUSED

    assert (tmp_path / "runs").read_text() == "ran\n"


@pytest.mark.parametrize("claims", [True, False])
def test_api_that_is_away_blocks_no_retry(api, agent, poll, file_task, claims):
    if not claims:
        api.lacking |= {"register_agent", "claim_task"}
    file_task("[ $KERUTA_RUN_NUMBER = 2 ]", parameters={"retry": {"count": 1, "delay": 0}})
    poll.poll()
    run.run_next(agent)
    api.fail_next("claim_task" if claims else "task", AWAY)

    let_time_pass(agent)
    assert run.run_next(agent).outcome is Outcome.SUCCEEDED


@pytest.mark.parametrize("status", [TaskStatus.PROCESSING, TaskStatus.WAITING_FOR_INPUT])
def test_task_that_somebody_has_begun_is_left_alone_by_servers_without_claims_too(
    api, agent, poll, file_task, caplog, status
):
    api.lacking |= {"register_agent", "claim_task"}
    task = file_task("true")
    poll.poll()
    api.set_status(task.id, status)

    _run_out(agent)

    assert "somebody else has begun it" in agent.records.jobs.by_task(task.id).message
    assert api.statuses(task.id) == []


def test_server_without_claims_is_away_and_its_tasks_run(api, agent, poll, file_task):
    api.lacking |= {"register_agent", "claim_task"}
    file_task("true")
    poll.poll()
    for method in ("task", "write_status", "script"):
        api.fail_next(method, AWAY)

    assert run.run_next(agent).outcome is Outcome.SUCCEEDED


def test_agent_that_leaves_makes_room_at_once(api, agent, poll, other):
    poll.poll()
    agent.ownership.leave()
    _beat(agent)  # a poll that comes late
    _beat(other)
    assert api.agents.role(other.ownership.identity.id) is AgentRole.ACTIVE


def test_heartbeats_are_sent_when_they_are_due_and_not_at_each_poll(api, agent, poll):
    for _ in range(3):
        poll.poll()
    assert api.calls.count("register_agent") == 1
    agent.ownership._heartbeat_due = time.monotonic()
    poll.poll()
    assert api.calls.count("register_agent") == 2
