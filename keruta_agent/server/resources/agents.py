"""The agents of each session: they register, send heartbeats, and one of them is active.

Two agents of one session would run its tasks side by side. The first is active; another one
stands by until the first has been silent for its lease. Only the server's clock counts, and where
several servers share a database, the database's.
"""

from __future__ import annotations

from typing import Any, Final

from marshmallow import Schema, ValidationError, fields, validate

from keruta_agent.core import wire
from keruta_agent.core.model import AgentRole
from keruta_agent.http.fields import FreeText, RequestSchema
from keruta_agent.http.problems import conflict, invalid
from keruta_agent.http.request import Request
from keruta_agent.server import paging
from keruta_agent.server.access import scopes
from keruta_agent.server.routes import Resource
from keruta_agent.server.schemas import Identifier
from keruta_agent.server.store import session_rows
from keruta_agent.server.store import tables as t
from keruta_agent.server.store.ranges import Ranked
from keruta_agent.server.store.statements import select, statement
from keruta_agent.server.store.store import Change, Store
from keruta_agent.server.store.tables import Tables

resource = Resource("agents", "Who serves the sessions")

#: Days of silence after which an agent is forgotten.
KEPT_DAYS: Final = 30
_LONGEST_LEASE_S: Final = 24 * 3600
_LONGEST_NAME: Final = 255
_SECOND: Final = 1_000_000
_DAY: Final = 24 * 3600 * _SECOND


class Heartbeat(RequestSchema):
    """An agent that serves a session."""

    instance = Identifier(
        required=True, metadata={"description": "Where it runs: copies of one agent differ in it."}
    )
    session_id = fields.String(required=True, data_key="sessionId")
    lease_s = fields.Integer(
        required=True,
        data_key="leaseSeconds",
        strict=True,
        validate=validate.Range(min=0, max=_LONGEST_LEASE_S),
        metadata={"description": "Silence after which another agent takes over; 0: it leaves."},
    )
    host = FreeText(load_default="", validate=validate.Length(max=_LONGEST_NAME))
    version = FreeText(load_default="", validate=validate.Length(max=_LONGEST_NAME))


class AgentAnswer(Schema):
    """An agent, as it was seen last."""

    id = fields.String(required=True)
    session_id = fields.String(required=True, data_key="sessionId")
    role = fields.String(required=True, validate=validate.OneOf(list(AgentRole)))
    alive = fields.Boolean(required=True)
    host = fields.String(required=True)
    version = fields.String(required=True)
    lease_s = fields.Integer(required=True, data_key="leaseSeconds")
    registered_at = wire.AnyDate(required=True, data_key="registeredAt")
    seen_at = wire.AnyDate(required=True, data_key="seenAt")


class RegistrationAnswer(Schema):
    """The agent itself, and the one that is active instead."""

    agent = fields.Nested(AgentAnswer, required=True)
    active = fields.Nested(AgentAnswer, allow_none=True)


class AgentQuery(paging.PageQuery):
    """Which agents to list."""

    session_id = fields.String(data_key="sessionId")


_ID: Final = Identifier()

_FIND: Final = select("agents", "id = ?")
_OTHERS_ACTIVE: Final = select(
    "agents", f"session_id = ? AND id <> ? AND role = '{AgentRole.ACTIVE}' ORDER BY number"
)
_DEMOTE_OTHERS: Final = statement(
    f"UPDATE agents SET role = '{AgentRole.STANDBY}' WHERE session_id = ? AND id <> ?"  # noqa: S608
)
_FORGET: Final = statement("DELETE FROM agents WHERE seen_at < ?")


@resource.write(
    "PUT",
    "/api/v1/agents/{agent_id}",
    body=Heartbeat,
    answer=RegistrationAnswer,
    keyed=False,
)
def heartbeat(change: Change, draft: dict[str, Any], agent_id: str) -> Any:
    """Register an agent with its session, or renew its lease; return whether it is active."""
    _check_id(agent_id)
    # The session's row makes two agents that come at once take turns.
    session_rows.lock(change, draft["session_id"])
    database = change.tables.database
    now = database.now()
    known = find(change.tables, agent_id)
    refuse_copy(known, draft["instance"], now)
    active = _other_active(change.tables, agent_id, draft["session_id"], now)
    is_active = active is None and draft["lease_s"] > 0
    values = {
        "instance": draft["instance"],
        "session_id": draft["session_id"],
        "role": (AgentRole.ACTIVE if is_active else AgentRole.STANDBY).value,
        "host": draft["host"],
        "version": draft["version"],
        "lease": draft["lease_s"],
        "seen_at": now,
    }
    if known is None:
        known = {"id": agent_id, "registered_at": now}
        database.insert("agents", known | values)
        database.run(_FORGET, now - KEPT_DAYS * _DAY)
    else:
        database.update("agents", values, id=agent_id)
    was_active = (AgentRole.ACTIVE, draft["session_id"])
    if is_active and (known.get("role"), known.get("session_id")) != was_active:
        database.run(_DEMOTE_OTHERS, draft["session_id"], agent_id)
    return {
        "agent": to_answer(known | values, now),
        "active": None if active is None else to_answer(active, now),
    }


@resource.read(
    "/api/v1/agents",
    query=AgentQuery,
    answer=AgentAnswer(many=True),
    doc=paging.DOCUMENTATION,
)
def list_agents(store: Store, query: dict[str, Any], *, request: Request) -> Any:
    """List the agents that were seen lately, of one session or of all, the last seen first."""
    wanted = scopes.of_rows(request)
    if "session_id" in query:
        wanted.append(("session_id = ?", (query["session_id"],)))
    listing = Ranked(table="agents", rank="seen_at", more=wanted)
    now = store.database.now()
    return paging.respond(request, listing, query, lambda row: to_answer(row, now))


def refuse_copy(known: dict[str, Any] | None, instance: str, now: int) -> None:
    """Refuse an agent whose id another living one uses: a base directory was copied.

    Raises:
        Problem: there is such a one (409).
    """
    if known is not None and known["instance"] != instance and is_alive(known, now):
        raise conflict(
            "AGENT_ID_IN_USE",
            f"another agent with the id {known['id']} is alive on {known['host'] or 'a machine'}:"
            " one base directory is a copy of the other",
            field="instance",
        )


def is_alive(row: dict[str, Any], now: int) -> bool:
    """Return whether an agent's lease has yet to end."""
    # What was seen in the future was seen before the clock was set back.
    return bool(abs(now - row["seen_at"]) < row["lease"] * _SECOND)


def find(tables: Tables, agent_id: str) -> dict[str, Any] | None:
    """Return an agent's row, None when it is not known (any more)."""
    return tables.database.one(_FIND, agent_id)


def _other_active(
    tables: Tables, agent_id: str, session_id: str, now: int
) -> dict[str, Any] | None:
    rows = tables.database.all(_OTHERS_ACTIVE, session_id, agent_id)
    return next((row for row in rows if is_alive(row, now)), None)


def _check_id(agent_id: str) -> None:
    try:
        _ID.deserialize(agent_id)
    except ValidationError as exc:
        raise invalid("id", str(exc.messages[0])) from None


def to_answer(row: dict[str, Any], now: int) -> dict[str, Any]:
    """Return an agent as JSON, as ``AgentAnswer`` documents it."""
    return {
        "id": row["id"],
        "sessionId": row["session_id"],
        "role": row["role"],
        "alive": is_alive(row, now),
        "host": row["host"],
        "version": row["version"],
        "leaseSeconds": row["lease"],
        "registeredAt": t.date(row["registered_at"]),
        "seenAt": t.date(row["seen_at"]),
    }
