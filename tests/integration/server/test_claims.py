"""Agents of a session, and the claims by which one of them has a task."""

from __future__ import annotations

from typing import Any

import pytest

from keruta_agent.server.resources import agents
from keruta_agent.server.store.store import Store
from tests.helpers.api_caller import ApiCaller, Json

#: Seconds in which no test ends.
LONG = 3600


def _beat(api: ApiCaller, agent: str, session: str, lease: int = LONG, **values: Any) -> Json:
    draft = {"instance": "here", "sessionId": session, "leaseSeconds": lease} | values
    answer: Json = api.send("PUT", f"/agents/{agent}", draft)
    return answer


def _role(api: ApiCaller, agent: str, session: str, lease: int = LONG) -> str:
    return str(_beat(api, agent, session, lease)["agent"]["role"])


def _silence(store: Store, agent: str, seconds: int) -> None:
    """Lets an agent have been silent for a while, by the server's own clock."""
    with store.writing() as change:
        rows = change.tables.agents
        seen = rows.seen_at - seconds * 1_000_000
        rows.update(seen_at=seen).where(rows.id == agent).execute()


def _draft(agent: str, run: str = "r1", **values: Any) -> Json:
    return {"agent": agent, "instance": "here", "run": run} | values


def test_second_agent_of_a_session_stands_by_and_is_told_which_one_is_active(
    api: ApiCaller,
) -> None:
    session = api.session()["id"]

    assert _role(api, "a", session) == "ACTIVE"
    told = _beat(api, "b", session)

    assert told["agent"]["role"] == "STANDBY"
    assert told["active"]["id"] == "a"
    assert _role(api, "a", session) == "ACTIVE"
    listed = api.get(f"/agents?sessionId={session}")
    assert {one["id"]: (one["role"], one["alive"]) for one in listed} == {
        "a": ("ACTIVE", True),
        "b": ("STANDBY", True),
    }


def test_standby_takes_over_when_the_active_one_was_silent_for_its_lease(
    api: ApiCaller, store: Store
) -> None:
    session = api.session()["id"]
    _beat(api, "a", session, lease=60)
    _beat(api, "b", session, lease=60)

    _silence(store, "a", 59)
    assert _role(api, "b", session) == "STANDBY"
    _silence(store, "a", 2)
    assert _role(api, "b", session) == "ACTIVE"
    assert _role(api, "a", session) == "STANDBY", "the first one comes back"


def test_clock_that_is_set_back_keeps_no_silent_agent_alive(api: ApiCaller, store: Store) -> None:
    session = api.session()["id"]
    _beat(api, "a", session, lease=60)

    _silence(store, "a", -3600)

    assert _role(api, "b", session) == "ACTIVE"


def test_agent_that_leaves_makes_room_at_once(api: ApiCaller) -> None:
    session = api.session()["id"]
    _beat(api, "a", session)
    _beat(api, "a", session, lease=0)

    assert _role(api, "b", session) == "ACTIVE"


def test_agents_of_two_sessions_are_both_active(api: ApiCaller) -> None:
    assert _role(api, "a", api.session()["id"]) == "ACTIVE"
    assert _role(api, "b", api.session()["id"]) == "ACTIVE"


def test_copy_of_a_base_directory_is_refused_while_the_other_one_lives(
    api: ApiCaller, store: Store
) -> None:
    session, task = api.session()["id"], api.task()["id"]
    _beat(api, "copied", session, lease=60, host="first")
    draft = {"instance": "elsewhere", "sessionId": session, "leaseSeconds": 60}

    error = api.error("PUT", "/agents/copied", draft, 409)
    assert (error["code"], "first" in error["message"]) == ("AGENT_ID_IN_USE", True)
    claim = _draft("copied", instance="elsewhere")
    assert api.error("POST", f"/tasks/{task}/claim", claim, 409)["code"] == "AGENT_ID_IN_USE"

    _silence(store, "copied", 61)
    assert api.send("PUT", "/agents/copied", draft)["agent"]["role"] == "ACTIVE"


def test_heartbeat_with_a_used_idempotency_key_acts_again(api: ApiCaller, store: Store) -> None:
    session = api.session()["id"]
    draft = {"instance": "here", "sessionId": session, "leaseSeconds": 60}
    api.send("PUT", "/agents/keyed", draft, key="k")
    _silence(store, "keyed", 61)

    assert api.send("PUT", "/agents/keyed", draft, key="k")["agent"]["alive"]
    assert api.get(f"/agents?sessionId={session}")[0]["alive"]


def test_agents_that_were_silent_for_long_are_forgotten(api: ApiCaller, store: Store) -> None:
    session = api.session()["id"]
    _beat(api, "old", session)
    _silence(store, "old", (agents.KEPT_DAYS + 1) * 24 * 3600)
    _beat(api, "new", session)

    assert [one["id"] for one in api.get(f"/agents?sessionId={session}")] == ["new"]


@pytest.mark.parametrize("agent", ["日本", "-a", "a b", "a" * 201])
def test_id_that_fits_into_no_path_is_refused(api: ApiCaller, agent: str) -> None:
    draft = {"instance": "here", "sessionId": api.session()["id"], "leaseSeconds": 1}
    assert api.error("PUT", f"/agents/{agent}", draft, 400)["field"] == "id"


def test_claim_names_its_agent_and_the_second_one_is_refused(api: ApiCaller) -> None:
    task = api.task()
    _beat(api, "a", task["sessionId"], host="first")
    api.send("POST", f"/tasks/{task['id']}/claim", _draft("a"))

    error = api.error("POST", f"/tasks/{task['id']}/claim", _draft("b"), 409)

    assert (error["code"], error["current"]) == ("CLAIMED", "a")
    assert "a on first since" in error["message"]
    assert (
        f"release the task on its page or with DELETE /api/v1/tasks/{task['id']}/claim"
        in (error["message"])
    )
    assert api.get(f"/tasks/{task['id']}")["claimedBy"] == "a"
    assert api.get(f"/tasks/{task['id']}/claim")["run"] == "r1"


def test_claim_is_repeated_and_renewed_by_its_own_agent(api: ApiCaller) -> None:
    task = api.task()["id"]
    first = api.send("POST", f"/tasks/{task}/claim", _draft("a"), key="k")
    assert api.send("POST", f"/tasks/{task}/claim", _draft("a")) == first
    api.move(task, "PROCESSING")

    assert api.send("POST", f"/tasks/{task}/claim", _draft("a", "r2"), key="k")["run"] == "r2"


def test_claim_outlives_the_silence_of_its_agent(api: ApiCaller, store: Store) -> None:
    task = api.task()
    _beat(api, "a", task["sessionId"], lease=1)
    api.send("POST", f"/tasks/{task['id']}/claim", _draft("a"))
    _silence(store, "a", 40 * 24 * 3600)
    _beat(api, "b", task["sessionId"])

    assert api.error("POST", f"/tasks/{task['id']}/claim", _draft("b"), 409)["code"] == "CLAIMED"
    assert api.move(task["id"], "PROCESSING", "COMPLETED")["status"] == "COMPLETED", (
        "the late report counts"
    )


def test_person_releases_a_claim_and_another_agent_has_the_task(api: ApiCaller) -> None:
    task = api.task()["id"]
    api.send("POST", f"/tasks/{task}/claim", _draft("a"))

    for _ in range(2):
        assert api.call("DELETE", f"/tasks/{task}/claim").status_code == 204
    assert api.get(f"/tasks/{task}")["claimedBy"] is None
    assert api.call("GET", f"/tasks/{task}/claim").status_code == 404
    api.send("POST", f"/tasks/{task}/claim", _draft("b"))


def test_second_agent_is_told_what_helps_with_a_task_that_was_begun(api: ApiCaller) -> None:
    task = api.task()["id"]
    api.send("POST", f"/tasks/{task}/claim", _draft("a"))
    api.move(task, "PROCESSING")

    error = api.error("POST", f"/tasks/{task}/claim", _draft("b"), 409)

    assert "cancel the task and run it again" in error["message"]


def test_task_that_somebody_without_a_claim_has_begun_is_not_claimed(api: ApiCaller) -> None:
    task = api.task()["id"]
    api.move(task, "PROCESSING")

    assert api.error("POST", f"/tasks/{task}/claim", _draft("a"), 409)["code"] == "BEGUN"
    api.send("POST", f"/tasks/{task}/claim", _draft("a", begun=True))


def test_task_that_has_ended_is_neither_claimed_nor_released(api: ApiCaller) -> None:
    task = api.task()["id"]
    api.send("POST", f"/tasks/{task}/claim", _draft("a"))
    api.move(task, "CANCELLED")

    assert api.error("POST", f"/tasks/{task}/claim", _draft("a"), 409)["code"] == "TASK_ENDED"
    assert api.error("DELETE", f"/tasks/{task}/claim", None, 409)["code"] == "TASK_ENDED"


def test_claim_of_an_unknown_task_is_not_found(api: ApiCaller) -> None:
    assert api.error("POST", "/tasks/none/claim", _draft("a"), 404)["code"] == "TASK_NOT_FOUND"


def test_status_is_written_without_a_claim_as_ever(api: ApiCaller) -> None:
    task = api.task()["id"]
    api.send("POST", f"/tasks/{task}/claim", _draft("a"))

    assert api.move(task, "PROCESSING", "PROCESSING", "COMPLETED")["status"] == "COMPLETED"


def test_deleted_session_takes_its_agents_along(api: ApiCaller, store: Store) -> None:
    session = api.session()["id"]
    _beat(api, "a", session)
    assert api.call("DELETE", f"/sessions/{session}").status_code == 204

    with store.database.connected():
        rows = store.tables.agents
        assert not rows.select().where(rows.session_id == session).count()
