"""Routes of the Repo Pool Manager, which lends clones of repositories."""

from __future__ import annotations

import re
from typing import Any, Final

from marshmallow import Schema, fields, validate
from starlette.responses import Response

from keruta_agent.core import errors
from keruta_agent.git import url as urls
from keruta_agent.http.fields import Name, RequestSchema
from keruta_agent.http.problems import invalid
from keruta_agent.http.request import Request
from keruta_agent.http.responses import json_value
from keruta_agent.server.routes import KEY_PARAMETER, Resource
from keruta_agent.server.runner_services.context import services_of
from keruta_agent.server.runner_services.lending import AllocationRequest
from keruta_agent.server.runner_services.slots import Slots
from keruta_agent.server.store.store import Store

resource = Resource("slots", "Clones of repositories, lent to one run at a time")

#: Seconds that a slot is lent without a sign of life: longer than a run may take, because older
#: runners give none.
USUAL_LEASE_S: Final = 3600.0
_LONGEST_LEASE_S: Final = 7 * 24 * 3600.0
_LONGEST_WAIT_S: Final = 3600.0
_KEY: Final = re.compile(r"[\x21-\x7e]{1,255}\Z")


class AllocateBody(RequestSchema):
    """A client's request for a slot."""

    repo_url = Name(required=True, max_length=4000)
    required_by = Name(required=True, max_length=500)
    timeout_seconds = fields.Float(
        load_default=0.0, validate=validate.Range(min=0, max=_LONGEST_WAIT_S)
    )
    lease_seconds = fields.Float(
        load_default=USUAL_LEASE_S, validate=validate.Range(min=1, max=_LONGEST_LEASE_S)
    )


class LeaseBody(RequestSchema):
    """Whose slot it is. Left out, it is that of whoever has it."""

    lease_token = fields.String(load_default="", validate=validate.Length(max=200))


class SlotAnswer(Schema):
    """A slot. Its state is available, allocated or cleaning."""

    slot_id = fields.String(required=True)
    slot_path = fields.String(required=True)
    repo_url = fields.String(required=True)
    state = fields.String(required=True)
    required_by = fields.String(required=True, allow_none=True)
    lease_seconds = fields.Float(required=True, allow_none=True)
    expires_in_seconds = fields.Float(required=True, allow_none=True)
    changed_at = fields.Float(required=True)


class LoanAnswer(SlotAnswer):
    """A slot that is now the asker's."""

    lease_token = fields.String(required=True)


class PoolAnswer(Schema):
    """The slots of one repository."""

    repo_url = fields.String(required=True)
    size = fields.Integer(required=True)
    available = fields.Integer(required=True)
    allocated = fields.Integer(required=True)
    cleaning = fields.Integer(required=True)
    waiting = fields.Integer(required=True)
    slots = fields.List(fields.Nested(SlotAnswer), required=True)


class PoolsAnswer(Schema):
    """All slots."""

    pool_size = fields.Integer(required=True)
    pools = fields.List(fields.Nested(PoolAnswer), required=True)


def _allocate(request: Request, body: dict[str, Any]) -> Response:
    """Lend a slot, waiting for one if that is asked for.

    The same Idempotency-Key finds the same slot again for as long as it is lent.
    """
    key = request.headers.get("Idempotency-Key", "")
    if key and not _KEY.match(key):
        raise invalid("Idempotency-Key", "must be 1 to 255 visible ASCII characters")
    try:
        url = urls.parse(body["repo_url"])
    except errors.WorkspaceError as exc:
        raise invalid("repo_url", str(exc)) from exc
    wanted = AllocationRequest(
        url=url,
        holder=body["required_by"],
        wait_s=body["timeout_seconds"],
        lease_s=body["lease_seconds"],
        key=key,
    )
    slots = services_of(request).slots
    row = slots.allocate(wanted)
    return json_value({**slots.describe(row), "lease_token": row["lease_token"]})


def _release(request: Request, body: dict[str, Any], slot_id: str) -> Response:
    """Take a slot back; nothing happens when it was given back already.

    Without a lease_token it is taken from whoever has it.
    """
    slots = services_of(request).slots
    return json_value(slots.describe(slots.release(slot_id, body["lease_token"])))


def _heartbeat(request: Request, body: dict[str, Any], slot_id: str) -> Response:
    """Renew the lease of a slot (heartbeat)."""
    slots = services_of(request).slots
    return json_value(slots.describe(slots.heartbeat(slot_id, body["lease_token"])))


# Not by Resource.write: a write of that kind is one transaction, and these wait in between.
resource.declare(
    "POST",
    "/slots/allocate",
    _allocate,
    body=AllocateBody,
    answer=LoanAnswer,
    doc={"parameters": [KEY_PARAMETER]},
    waits=True,
)
resource.declare("POST", "/slots/{slot_id}/release", _release, body=LeaseBody, answer=SlotAnswer)
resource.declare(
    "POST", "/slots/{slot_id}/heartbeat", _heartbeat, body=LeaseBody, answer=SlotAnswer
)


@resource.read("/slots/{slot_id}", answer=SlotAnswer)
def get_slot(store: Store, slot_id: str, *, request: Request) -> Any:
    """Return what is known of a slot."""
    slots = services_of(request).slots
    return slots.describe(slots.find(slot_id))


@resource.read("/pools/status", answer=PoolsAnswer)
def get_status(store: Store, *, request: Request) -> Any:
    """Return all slots, by repository."""
    slots = services_of(request).slots
    pools: dict[str, list[dict[str, Any]]] = {}
    for row in slots.rows():
        pools.setdefault(row["repository"], []).append(row)
    return {
        "pool_size": slots.size,
        "pools": [_pool(slots, repository, rows) for repository, rows in pools.items()],
    }


def _pool(slots: Slots, repository: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    described = [slots.describe(row) for row in rows]
    states = [slot["state"] for slot in described]
    allocated, cleaning = states.count("allocated"), states.count("cleaning")
    return {
        "repo_url": rows[-1]["address"],
        "size": slots.size,
        # Those that are not made yet can be had as well.
        "available": max(0, slots.size - allocated - cleaning),
        "allocated": allocated,
        "cleaning": cleaning,
        "waiting": slots.waiting(repository),
        "slots": described,
    }
