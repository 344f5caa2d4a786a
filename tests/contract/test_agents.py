"""Agents and claims, on every server that knows them."""

from __future__ import annotations

import uuid

import pytest

from keruta_agent.core import errors
from keruta_agent.core.model import AgentIdentity, AgentRole, StatusReport, TaskStatus
from tests.contract.worlds import World


def _agent(**fields: str) -> AgentIdentity:
    return AgentIdentity(**{"id": str(uuid.uuid4()), "instance": "here", "host": "h"} | fields)


def _refusal(world: World, task_id: str, agent: AgentIdentity, *, begun: bool = False) -> str:
    with pytest.raises(errors.ApiConflict) as raised:
        world.api.claim_task(task_id, agent, run="r", begun=begun)
    return raised.value.code


def test_second_agent_stands_by_until_the_first_leaves(world: World) -> None:
    session = world.add_session().id
    first, second = _agent(), _agent()

    assert world.api.register_agent(first, session, lease_s=600).role is AgentRole.ACTIVE
    reported = world.api.register_agent(second, session, lease_s=600)
    assert reported.role is AgentRole.STANDBY
    assert first.id in reported.active
    assert world.api.register_agent(first, session, lease_s=600).role is AgentRole.ACTIVE

    world.api.register_agent(first, session, lease_s=0)
    assert world.api.register_agent(second, session, lease_s=600).role is AgentRole.ACTIVE


def test_copy_of_a_living_agent_is_refused(world: World) -> None:
    session = world.add_session().id
    task = world.add_task(session).id
    first = _agent()
    copy = _agent(id=first.id, instance="elsewhere")
    world.api.register_agent(first, session, lease_s=600)

    with pytest.raises(errors.ApiConflict) as raised:
        world.api.register_agent(copy, session, lease_s=600)
    assert raised.value.code == "AGENT_ID_IN_USE"
    assert _refusal(world, task, copy) == "AGENT_ID_IN_USE"


def test_agent_of_an_unknown_session_is_not_found(world: World) -> None:
    with pytest.raises(errors.ApiNotFound):
        world.api.register_agent(_agent(), "missing", lease_s=1)


def test_claim_is_the_first_agents_and_may_be_repeated_by_it(world: World) -> None:
    task = world.add_task(world.add_session().id).id
    first, second = _agent(), _agent()

    for run in ("r1", "r1", "r2"):
        world.api.claim_task(task, first, run=run, begun=False)

    assert _refusal(world, task, second) == "CLAIMED"
    assert world.api.task(task).claimed_by == first.id


def test_task_that_was_begun_is_claimed_by_its_agent_only(world: World) -> None:
    task = world.add_task(world.add_session().id).id
    world.api.write_status(task, StatusReport(status=TaskStatus.PROCESSING), key=uuid.uuid4().hex)

    assert _refusal(world, task, _agent()) == "BEGUN"
    world.api.claim_task(task, _agent(), run="r", begun=True)


def test_task_that_has_ended_or_is_gone_is_not_claimed(world: World) -> None:
    task = world.add_task(world.add_session().id).id
    world.api.write_status(task, StatusReport(status=TaskStatus.FAILED), key=uuid.uuid4().hex)

    assert _refusal(world, task, _agent(), begun=True) == "TASK_ENDED"
    with pytest.raises(errors.ApiNotFound):
        world.api.claim_task("missing", _agent(), run="r", begun=False)
