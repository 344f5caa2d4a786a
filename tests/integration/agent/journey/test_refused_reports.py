"""Reports that something between agent and API refuses."""

from __future__ import annotations

import pytest

from keruta_agent.agent.journey import run
from keruta_agent.agent.store.run import Outcome
from keruta_agent.core import errors
from keruta_agent.core.model import TaskStatus
from tests.integration.agent.journey.conftest import let_time_pass


@pytest.mark.parametrize("has_claims", [True, False])
def test_task_goes_back_to_its_place_when_writes_became_blocked(
    api, agent, poll, file_task, has_claims
):
    if not has_claims:
        api.lacking |= {"register_agent", "claim_task"}
    file_task("true")
    poll.poll()
    assert agent.writes.is_proved
    api.fail_next("check_writes", errors.ApiBlocked("no report reaches it", status=405))
    if has_claims:
        api.fail_next("claim_task", errors.ApiRefused("not allowed", status=405))

    assert run.run_next(agent) is None
    assert poll.api_problem == "no report reaches it"

    poll.poll()
    let_time_pass(agent)
    assert poll.api_problem is None
    assert run.run_next(agent).outcome is Outcome.SUCCEEDED


def test_report_that_a_proxy_refuses_is_kept_and_one_that_the_api_refuses_set_aside(
    api, agent, poll, file_task, run_all
):
    task = file_task("echo text")
    api.fail_next("send_logs", errors.ApiRefused("not allowed", status=405))
    api.fail_next("send_logs", errors.ApiRefused("malformed", status=400))
    poll.poll()
    while run.run_next(agent) is not None:
        pass
    api.fail_next("check_writes", errors.ApiBlocked("no report reaches it", status=405))
    agent.outbox_sender.deliver(10)
    assert agent.records.outbox.counts().dead_letters == 0
    assert api.tasks[task.id].status is not TaskStatus.COMPLETED

    poll.poll()
    agent.outbox_sender.deliver(10)
    assert agent.records.outbox.counts().dead_letters == 1
    assert api.tasks[task.id].status is TaskStatus.COMPLETED


def test_words_that_a_firewall_takes_offence_at_hold_up_no_others(
    api, agent, poll, file_task, run_all
):
    task = file_task("echo '<script>'; exit 0")
    for _ in range(12):
        api.fail_next("send_logs", errors.ApiUnauthorized("forbidden", status=403))

    run_all()
    other = file_task("true")
    run_all()

    assert not agent.outbox_sender.is_unauthorized
    assert api.tasks[other.id].status is TaskStatus.COMPLETED
    assert api.tasks[task.id].status is not TaskStatus.COMPLETED
