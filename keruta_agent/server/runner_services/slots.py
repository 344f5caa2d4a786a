"""The lending of slots: to one holder at a time, first come first served, under a lease.

What is lent stands in the database before anybody is told of it, so that neither a killed server
nor a killed holder makes two holders of one slot, or loses one. Queues are in memory only: those
who wait hold a connection, and come again with their key when it breaks off.
"""

from __future__ import annotations

import contextlib
import logging
import re
import secrets
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from typing import Any, Final

import peewee

from keruta_agent.core import errors
from keruta_agent.git.access.credentials import GitAccess
from keruta_agent.http.problems import Problem, conflict, missing
from keruta_agent.server.runner_services.clones import Clones
from keruta_agent.server.runner_services.lending import (
    HELD,
    LENDABLE,
    MOST_WAITING,
    AllocationRequest,
    State,
    in_use,
    lost,
    nobody,
    public,
    too_many,
    unusable,
)
from keruta_agent.server.runner_services.store import Store
from keruta_agent.server.store import tables as t

logger = logging.getLogger(__name__)

#: Seconds that a request waits for a slot that is being cleaned, though it did not ask to wait.
CLEANING_S: Final = 30.0
#: Seconds after which the cleaner looks, even when nothing woke it.
_LOOK_S: Final = 60.0
#: Seconds until the cleaner retries what failed.
_PAUSE_S: Final = 5.0

_NOT_IN_AN_ID: Final = re.compile(r"[^A-Za-z0-9._-]+")


class Slots:
    """All slots of all repositories."""

    def __init__(self, store: Store, *, size: int, access: GitAccess) -> None:
        self._store = store
        #: Slots of one repository.
        self.size = size
        self._changed = threading.Condition()
        self._queues: defaultdict[str, deque[object]] = defaultdict(deque)
        self._keys: set[str] = set()
        #: When each lease ends, by the clock that nobody can set.
        self._ends: dict[str, float] = {}
        self._closing = False
        self._clones = Clones(store.pool_dir, access, self._stop_reason)
        self._cleaner = threading.Thread(target=self._clean, name="repo-pool", daemon=True)

    def start(self) -> None:
        """Take up what an earlier server left, and begin to look after the slots."""
        slots = self._store.tables.slots
        with self._store.writing():
            begun = slots.state.in_((State.PREPARING, State.CLEANING))
            slots.update(state=State.CONDEMNED, **nobody()).where(begun).execute()
            rows = list(slots.select().dicts())
        for row in rows:
            if row["state"] == State.LENT:
                # All of it: while there was no server, nobody could say that it goes on.
                self._ends[row["id"]] = time.monotonic() + row["lease_s"]
        self._clones.discard_unknown(frozenset(row["id"] for row in rows))
        self._cleaner.start()

    def close(self) -> None:
        """Refuse the waiting clients, and stop the git commands."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._cleaner.ident is not None:
            self._cleaner.join()

    def allocate(self, wanted: AllocationRequest) -> dict[str, Any]:
        """Lend a slot and return its row.

        Raises:
            Problem: none is free, or none can be made.
        """
        deadline = time.monotonic() + wanted.wait_s
        with self._under_key(wanted, deadline) as known:
            if known is not None:
                return known
            row = self._wait(wanted, deadline)
            return self._prepared(row, wanted)

    def release(self, slot_id: str, token: str) -> dict[str, Any]:
        """Take a slot back; without a token from whoever has it. Returns its row.

        Raises:
            Problem: it is somebody else's by now, or is just being prepared for somebody.
        """
        slots = self._store.tables.slots
        with self._changed, self._store.writing():
            row = self._find(slot_id)
            if token and row["lease_token"] != token:
                if row["state"] in HELD and row["released_token"] != token:
                    raise lost(slot_id)
                return row
            if row["state"] == State.PREPARING:
                raise conflict("SLOT_BUSY", f"slot {slot_id!r} is being prepared for its holder")
            if row["state"] == State.LENT:
                changes = {
                    **nobody(),
                    "state": State.DIRTY,
                    "released_token": row["lease_token"],
                    "changed_at": t.now(),
                }
                slots.update(**changes).where(slots.number == row["number"]).execute()
                self._ends.pop(slot_id, None)
                self._changed.notify_all()
                row |= changes
        return row

    def heartbeat(self, slot_id: str, token: str) -> dict[str, Any]:
        """Begin a lease anew and return the slot's row.

        Raises:
            Problem: the lease has ended.
        """
        with self._changed, self._store.database.connected():
            row = self._find(slot_id)
            if row["state"] != State.LENT or (token and row["lease_token"] != token):
                raise lost(slot_id)
            self._ends[slot_id] = time.monotonic() + row["lease_s"]
        return row

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows of all slots; the database must be connected."""
        slots = self._store.tables.slots
        return list(slots.select().order_by(slots.number).dicts())

    def find(self, slot_id: str) -> dict[str, Any]:
        """Return the row of a slot; the database must be connected.

        Raises:
            Problem: there is none (404).
        """
        return self._find(slot_id)

    def waiting(self, repository: str) -> int:
        """Return how many wait for a slot of a repository."""
        with self._changed:
            return len(self._queues.get(repository, ()))

    def describe(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return what may be told of a slot to anybody."""
        held = row["state"] in HELD
        ends = self._ends.get(row["id"])
        return {
            "slot_id": row["id"],
            "slot_path": str(self._clones.path(row["id"])),
            "repo_url": row["address"],
            "state": public(row["state"]),
            "required_by": row["holder"] if held else None,
            "lease_seconds": row["lease_s"] if held else None,
            "expires_in_seconds": max(0.0, ends - time.monotonic()) if held and ends else None,
            "changed_at": row["changed_at"] / 1e6,
        }

    @contextlib.contextmanager
    def _under_key(
        self, wanted: AllocationRequest, deadline: float
    ) -> Iterator[dict[str, Any] | None]:
        """Yield what was lent under the request's key before; keep others with this key waiting."""
        if not wanted.key:
            yield None
            return
        with self._changed:
            while wanted.key in self._keys:
                self._check_open()
                if not self._changed.wait(max(0.0, deadline + CLEANING_S - time.monotonic())):
                    raise in_use()
            self._keys.add(wanted.key)
        try:
            yield self._lent_under(wanted)
        finally:
            with self._changed:
                self._keys.discard(wanted.key)
                self._changed.notify_all()

    def _lent_under(self, wanted: AllocationRequest) -> dict[str, Any] | None:
        slots = self._store.tables.slots
        with self._store.database.connected():
            is_it = (slots.key == wanted.key) & (slots.state == State.LENT)
            row: dict[str, Any] | None = slots.select().where(is_it).dicts().get()
        if row is not None and row["repository"] != wanted.url.identity:
            raise conflict("KEY_IN_USE", "this Idempotency-Key was used for another repository")
        return row

    def _wait(self, wanted: AllocationRequest, deadline: float) -> dict[str, Any]:
        """Return the row of a slot that is now being prepared for the request."""
        ticket = object()
        with self._changed:
            queue = self._queues[wanted.url.identity]
            if sum(map(len, self._queues.values())) >= MOST_WAITING:
                raise too_many()
            queue.append(ticket)
            try:
                while True:
                    self._check_open()
                    is_first = queue[0] is ticket
                    row = self._claimed(wanted) if is_first else None
                    if row is not None:
                        return row
                    left_s = deadline - time.monotonic()
                    if left_s <= 0 and is_first and self._is_cleaning(wanted.url.identity):
                        left_s += CLEANING_S
                    if left_s <= 0:
                        raise self._none_free(wanted)
                    self._changed.wait(left_s)
            finally:
                queue.remove(ticket)
                if not queue:
                    del self._queues[wanted.url.identity]
                self._changed.notify_all()

    def _claimed(self, wanted: AllocationRequest) -> dict[str, Any] | None:
        """Make the best slot the request's, if any can be had."""
        slots = self._store.tables.slots
        with self._store.writing():
            of_it = slots.repository == wanted.url.identity
            # Those used last come first: they have the least to fetch.
            rows = list(slots.select().where(of_it).order_by(slots.changed_at.desc()).dicts())
            if sum(row["state"] in HELD for row in rows) >= self.size:
                return None
            row = next((row for state in LENDABLE for row in rows if row["state"] == state), None)
            if row is None and len(rows) >= self.size:
                return None
            if row is None:
                row = self._new_row(wanted, {row["id"] for row in rows})
            changes = {
                "address": wanted.url.address,
                "state": State.PREPARING,
                "holder": wanted.holder,
                "lease_token": secrets.token_hex(16),
                "key": wanted.key,
                "lease_s": wanted.lease_s,
                "changed_at": t.now(),
            }
            slots.update(**changes).where(slots.id == row["id"]).execute()
        # What must go is known by this to be removed before it is used.
        return {**row, **changes, "was": row["state"]}

    def _new_row(self, wanted: AllocationRequest, taken: set[str]) -> dict[str, Any]:
        name = _NOT_IN_AN_ID.sub("-", wanted.url.name)[:60].strip(".-") or "repository"
        ids = (f"{name}-{wanted.url.digest}-{number}" for number in range(1, len(taken) + 2))
        row = {
            "id": next(identity for identity in ids if identity not in taken),
            "repository": wanted.url.identity,
            "address": wanted.url.address,
            "state": State.CONDEMNED,
            "released_token": "",
            "lease_s": wanted.lease_s,
            "changed_at": t.now(),
            **nobody(),
        }
        self._store.tables.slots.insert(**row).execute()
        return row

    def _prepared(self, row: dict[str, Any], wanted: AllocationRequest) -> dict[str, Any]:
        slots = self._store.tables.slots
        done: dict[str, Any] = {**nobody(), "state": State.CONDEMNED}
        try:
            if row["was"] == State.CONDEMNED:
                self._clones.discard(row["id"])
            self._clones.prepare(row["id"], wanted.url)
            done = {"state": State.LENT, "lease_token": row["lease_token"]}
        except errors.WorkspaceError as exc:
            self._check_open()  # stopped by us: the asker may come again
            raise unusable(wanted.url, exc) from exc
        finally:
            with self._changed:
                with self._store.writing():
                    slots.update(**done, changed_at=t.now()).where(slots.id == row["id"]).execute()
                if done["state"] == State.LENT:
                    self._ends[row["id"]] = time.monotonic() + wanted.lease_s
                self._changed.notify_all()
        logger.info(
            "slot %s is lent to %s",
            row["id"],
            wanted.holder,
            extra={"action": "slot_lent"},
        )
        return {**row, **done}

    def _clean(self) -> None:
        """Take back expired slots and clean returned ones, until the pool is closed."""
        while not self._closing:
            try:
                self._look_after()
            except (peewee.PeeweeException, OSError):
                logger.exception(
                    "the slots could not be looked after", extra={"action": "slot_left_behind"}
                )
                with self._changed:
                    self._changed.wait(_PAUSE_S)

    def _look_after(self) -> None:
        with self._changed:
            self._expire()
            row = self._next_to_clean()
            if row is None:
                if not self._closing:
                    self._changed.wait(self._until_next_end())
                return
        usable = False
        try:
            if row["state"] == State.DIRTY:
                usable = self._clones.tidy(row["id"])
            else:
                self._clones.discard(row["id"])
        finally:
            self._cleaned(row["id"], usable=usable)

    def _expire(self) -> None:
        slots = self._store.tables.slots
        for slot_id in [key for key, end in self._ends.items() if end <= time.monotonic()]:
            with self._store.writing():
                is_it = (slots.id == slot_id) & (slots.state == State.LENT)
                changes = {**nobody(), "state": State.CONDEMNED, "changed_at": t.now()}
                slots.update(**changes).where(is_it).execute()
            del self._ends[slot_id]
            self._changed.notify_all()
            logger.warning(
                "slot %s was taken back: its holder gave no sign of life",
                slot_id,
                extra={"action": "slot_expired"},
            )

    def _next_to_clean(self) -> dict[str, Any] | None:
        slots = self._store.tables.slots
        # The directory of a slot that must go is removed once; then its row is as good as new.
        with self._store.writing():
            rows = slots.select().where(slots.state.in_((State.DIRTY, State.CONDEMNED))).dicts()
            row = next((row for row in rows if self._needs_work(row)), None)
            if row is None:
                return None
            slots.update(state=State.CLEANING).where(slots.number == row["number"]).execute()
            found: dict[str, Any] = row
            return found

    def _needs_work(self, row: dict[str, Any]) -> bool:
        return row["state"] == State.DIRTY or self._clones.path(row["id"]).exists()

    def _cleaned(self, slot_id: str, *, usable: bool) -> None:
        slots = self._store.tables.slots
        state = State.FREE if usable else State.CONDEMNED
        with self._changed:
            with self._store.writing():
                slots.update(state=state).where(slots.id == slot_id).execute()
            self._changed.notify_all()

    def _until_next_end(self) -> float:
        ends = min(self._ends.values(), default=time.monotonic() + _LOOK_S)
        return min(max(0.0, ends - time.monotonic()), _LOOK_S)

    def _is_cleaning(self, repository: str) -> bool:
        slots = self._store.tables.slots
        with self._store.database.connected():
            is_it = (slots.repository == repository) & (slots.state == State.CLEANING)
            return bool(slots.select().where(is_it).count())

    def _find(self, slot_id: str) -> dict[str, Any]:
        slots = self._store.tables.slots
        row: dict[str, Any] | None = slots.select().where(slots.id == slot_id).dicts().get()
        if row is None:
            raise missing("slot", slot_id)
        return row

    def _none_free(self, wanted: AllocationRequest) -> Problem:
        return conflict(
            "NO_AVAILABLE_SLOTS",
            f"No available slots: all {self.size} of {wanted.url} are lent or have been promised",
        )

    def _stop_reason(self) -> str | None:
        return "the pool stops" if self._closing else None

    def _check_open(self) -> None:
        if self._closing:
            raise Problem(503, "UNAVAILABLE", "the pool stops", headers={"Retry-After": "2"})
