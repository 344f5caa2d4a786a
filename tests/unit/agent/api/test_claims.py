"""Agents and claims on the wire, and at servers that know nothing of them."""

from __future__ import annotations

import pytest
import requests_mock

from keruta_agent.agent.api import KerutaClient
from keruta_agent.core import errors
from keruta_agent.core.model import AgentIdentity, AgentRole
from tests.helpers.keruta_wire import API, Sent

AGENT = AgentIdentity(id="agent-1", instance="here", host="box")
#: What servers answer for a route that they lack.
MISSING = [(404, {"error": {"code": "ROUTE_NOT_FOUND"}}), (500, {"error": "x"}), (405, None)]


def test_heartbeat_names_agent_place_session_and_lease(
    wire: requests_mock.Mocker, client: KerutaClient
) -> None:
    active = {"id": "agent-0", "host": "other\nbox"}
    answer = {"agent": {"role": "STANDBY"}, "active": active}
    sent = wire.put(f"{API}/agents/agent-1", json=answer)

    reported = client.register_agent(AGENT, "s", lease_s=60)

    assert (reported.role, reported.active) == (AgentRole.STANDBY, "agent agent-0 on other box")
    body = sent.last_request.json()
    assert body.pop("version")
    assert body == {"instance": "here", "sessionId": "s", "leaseSeconds": 60, "host": "box"}


@pytest.mark.parametrize("answer", [[], {}, {"agent": {"role": "KING"}}, {"agent": None}])
def test_answer_that_is_no_registration_is_a_failure(
    wire: requests_mock.Mocker, client: KerutaClient, answer: object
) -> None:
    wire.put(f"{API}/agents/agent-1", json=answer)
    with pytest.raises(errors.ApiFailed):
        client.register_agent(AGENT, "s", lease_s=60)


def test_refused_claim_says_who_has_the_task(
    wire: requests_mock.Mocker, client: KerutaClient
) -> None:
    error = {"error": {"code": "CLAIMED", "message": "claimed by agent-0"}}
    wire.post(f"{API}/tasks/t/claim", json=error, status_code=409)
    with pytest.raises(errors.ApiConflict, match="claimed by agent-0") as raised:
        client.claim_task("t", AGENT, run="r", begun=False)
    assert raised.value.code == "CLAIMED"


@pytest.mark.parametrize(("status", "answer"), MISSING)
def test_server_without_claims_is_asked_once(
    wire: requests_mock.Mocker, client: KerutaClient, sent: Sent, status: int, answer: object
) -> None:
    wire.get(f"{API}/sessions/s", json={"id": "s"})
    wire.put(f"{API}/agents/agent-1", json=answer, status_code=status)
    with pytest.raises(errors.ApiUnsupported):
        client.register_agent(AGENT, "s", lease_s=60)
    before = sent()

    with pytest.raises(errors.ApiUnsupported):
        client.claim_task("t", AGENT, run="r", begun=False)
    with pytest.raises(errors.ApiUnsupported):
        client.register_agent(AGENT, "s", lease_s=60)
    assert sent() == before


def test_server_that_has_claims_and_breaks_is_not_taken_for_one_without(
    wire: requests_mock.Mocker, client: KerutaClient
) -> None:
    wire.put(f"{API}/agents/agent-1", json={"agent": {"role": "ACTIVE"}, "active": None})
    client.register_agent(AGENT, "s", lease_s=60)
    wire.post(f"{API}/tasks/t/claim", status_code=500)

    with pytest.raises(errors.ApiFailed):
        client.claim_task("t", AGENT, run="r", begun=False)


def test_claim_of_a_deleted_task_is_not_found(
    wire: requests_mock.Mocker, client: KerutaClient
) -> None:
    wire.get(f"{API}/tasks/t", status_code=404)
    wire.post(f"{API}/tasks/t/claim", status_code=404)
    with pytest.raises(errors.ApiNotFound):
        client.claim_task("t", AGENT, run="r", begun=False)


def test_claim_gives_the_task_with_its_script(
    wire: requests_mock.Mocker, client: KerutaClient
) -> None:
    task = {"id": "t", "script": "echo 日本語", "parameters": {"env": {"A": "1"}}}
    wire.post(f"{API}/tasks/t/claim", json={"taskId": "t", "task": task})

    claimed = client.claim_task("t", AGENT, run="r", begun=False)

    assert claimed is not None
    assert (claimed.script, claimed.parameters) == ("echo 日本語", {"env": {"A": "1"}})


@pytest.mark.parametrize("answer", ["", "no JSON", "[]", "{}", '{"task": null}', '{"task": 3}'])
def test_claim_stands_whatever_its_answer_holds(
    wire: requests_mock.Mocker, client: KerutaClient, answer: str
) -> None:
    wire.post(f"{API}/tasks/t/claim", text=answer)
    assert client.claim_task("t", AGENT, run="r", begun=False) is None
