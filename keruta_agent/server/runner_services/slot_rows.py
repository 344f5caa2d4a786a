"""The slots of one pool in the database: found, claimed, given back.

What is lent stands there before anybody learns of it, so that neither a killed server nor a killed
holder makes two holders of one slot, or loses one.
"""

from __future__ import annotations

import re
import secrets
from collections.abc import Callable
from typing import Any, Final

from keruta_agent.http.problems import conflict, missing
from keruta_agent.server.runner_services.lending import (
    HELD,
    LENDABLE,
    AllocationRequest,
    State,
    lost,
    nobody,
)
from keruta_agent.server.store import tables as t
from keruta_agent.server.store.store import Store

_NOT_IN_AN_ID: Final = re.compile(r"[^A-Za-z0-9._-]+")

Row = dict[str, Any]


class SlotRows:
    """The slots whose clones are in the directory of a store; others may share its database."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._slots = store.tables.pool_slots
        self._pool = store.directory.identity
        self._is_ours = self._slots.pool == self._pool

    def take_up(self) -> list[Row]:
        """Give up what an earlier server had begun, and return all slots."""
        slots = self._slots
        with self._store.writing():
            begun = self._is_ours & slots.state.in_((State.PREPARING, State.CLEANING))
            slots.update(state=State.CONDEMNED, **nobody()).where(begun).execute()
            return self.all()

    def all(self) -> list[Row]:
        """Return all slots; the database must be connected."""
        slots = self._slots
        return list(slots.select().where(self._is_ours).order_by(slots.number).dicts())

    def find(self, slot_id: str) -> Row:
        """Return a slot; the database must be connected.

        Raises:
            Problem: there is none (404).
        """
        slots = self._slots
        found: Row | None = slots.select().where(self._named(slot_id)).dicts().get()
        if found is None:
            raise missing("slot", slot_id)
        return found

    def lent_under(self, key: str) -> Row | None:
        """Return the slot that is lent under the key of a request."""
        slots = self._slots
        is_it = self._is_ours & (slots.key == key) & (slots.state == State.LENT)
        with self._store.database.connected():
            found: Row | None = slots.select().where(is_it).dicts().get()
        return found

    def is_cleaning(self, repository: str) -> bool:
        """Return whether a slot of a repository is being cleaned."""
        slots = self._slots
        is_it = (slots.repository == repository) & (slots.state == State.CLEANING)
        with self._store.database.connected():
            return bool(slots.select().where(self._is_ours & is_it).count())

    def claim(self, wanted: AllocationRequest, size: int) -> Row | None:
        """Make the best slot the request's, if any of ``size`` can be had.

        ``was`` holds the state from which it was taken.
        """
        slots = self._slots
        of_it = self._is_ours & (slots.repository == wanted.url.identity)
        with self._store.writing():
            # Those used last come first: they have the least to fetch.
            rows = list(slots.select().where(of_it).order_by(slots.changed_at.desc()).dicts())
            if sum(row["state"] in HELD for row in rows) >= size:
                return None
            row = next((row for state in LENDABLE for row in rows if row["state"] == state), None)
            if row is None and len(rows) >= size:
                return None
            if row is None:
                row = self._new(wanted, {row["id"] for row in rows})
            changes = {
                "address": wanted.url.address,
                "state": State.PREPARING,
                "holder": wanted.holder,
                "lease_token": secrets.token_hex(16),
                "key": wanted.key,
                "lease_s": wanted.lease_s,
                "changed_at": t.now(),
            }
            slots.update(**changes).where(self._named(row["id"])).execute()
        return {**row, **changes, "was": row["state"]}

    def change(self, slot_id: str, **changes: Any) -> None:
        """Change a slot."""
        with self._store.writing():
            self._slots.update(**changes).where(self._named(slot_id)).execute()

    def release(self, slot_id: str, token: str) -> tuple[Row, bool]:
        """Take a slot back, without a token from whoever has it; return whether it was lent.

        Raises:
            Problem: it is somebody else's by now, or is just being prepared for somebody.
        """
        with self._store.writing():
            row = self.find(slot_id)
            if token and row["lease_token"] != token:
                if row["state"] in HELD and row["released_token"] != token:
                    raise lost(slot_id)
                return row, False
            if row["state"] == State.PREPARING:
                raise conflict("SLOT_BUSY", f"slot {slot_id!r} is being prepared for its holder")
            if row["state"] != State.LENT:
                return row, False
            changes = {
                **nobody(),
                "state": State.DIRTY,
                "released_token": row["lease_token"],
                "changed_at": t.now(),
            }
            self._slots.update(**changes).where(self._named(slot_id)).execute()
        return {**row, **changes}, True

    def held_under(self, slot_id: str, token: str) -> Row:
        """Return a slot that is lent under a token; without one, to anybody.

        Raises:
            Problem: its lease has ended.
        """
        with self._store.database.connected():
            row = self.find(slot_id)
        if row["state"] != State.LENT or (token and row["lease_token"] != token):
            raise lost(slot_id)
        return row

    def expire(self, slot_id: str) -> None:
        """Take a slot back from a silent holder."""
        is_it = self._named(slot_id) & (self._slots.state == State.LENT)
        changes = {**nobody(), "state": State.CONDEMNED, "changed_at": t.now()}
        with self._store.writing():
            self._slots.update(**changes).where(is_it).execute()

    def begin_cleaning(self, needs_work: Callable[[Row], bool]) -> Row | None:
        """Return a slot to clean, as it was; nobody else gets it meanwhile."""
        slots = self._slots
        unclean = self._is_ours & slots.state.in_((State.DIRTY, State.CONDEMNED))
        with self._store.writing():
            rows = slots.select().where(unclean).dicts()
            row: Row | None = next((row for row in rows if needs_work(row)), None)
            if row is not None:
                slots.update(state=State.CLEANING).where(self._named(row["id"])).execute()
        return row

    def _named(self, slot_id: str) -> Any:
        return self._is_ours & (self._slots.id == slot_id)

    def _new(self, wanted: AllocationRequest, taken: set[str]) -> Row:
        name = _NOT_IN_AN_ID.sub("-", wanted.url.name)[:60].strip(".-") or "repository"
        ids = (f"{name}-{wanted.url.digest}-{number}" for number in range(1, len(taken) + 2))
        row = {
            "pool": self._pool,
            "id": next(identity for identity in ids if identity not in taken),
            "repository": wanted.url.identity,
            "address": wanted.url.address,
            "state": State.CONDEMNED,
            "released_token": "",
            "lease_s": wanted.lease_s,
            "changed_at": t.now(),
            **nobody(),
        }
        self._slots.insert(**row).execute()
        return row
