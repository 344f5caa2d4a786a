"""The lending of slots: to one holder at a time, first come first served, under a lease.

Queues are in memory only: those who wait hold a connection, and come again with their key when it
breaks off.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections import defaultdict, deque
from collections.abc import Iterator
from typing import Any, Final

from keruta_agent.core import errors
from keruta_agent.git.access.credentials import GitAccess
from keruta_agent.http.problems import Problem, conflict
from keruta_agent.server.runner_services import lending
from keruta_agent.server.runner_services.cleaner import Cleaner
from keruta_agent.server.runner_services.clones import Clones
from keruta_agent.server.runner_services.leases import Leases
from keruta_agent.server.runner_services.lending import (
    HELD,
    AllocationRequest,
    State,
    in_use,
    nobody,
    public,
    too_many,
    unusable,
)
from keruta_agent.server.runner_services.slot_rows import SlotRows
from keruta_agent.server.store import tables as t
from keruta_agent.server.store.store import Store

logger = logging.getLogger(__name__)

#: Seconds that a request waits for a slot that is being cleaned, though it did not ask to wait.
CLEANING_S: Final = 30.0


class Slots:
    """All slots of all repositories."""

    def __init__(self, store: Store, *, size: int, access: GitAccess) -> None:
        #: Slots of one repository.
        self.size = size
        self._rows = SlotRows(store)
        self._leases = Leases()
        self._changed = threading.Condition()
        self._queues: defaultdict[str, deque[object]] = defaultdict(deque)
        self._keys: set[str] = set()
        self._allocating = 0
        self._closing = False
        self._clones = Clones(store.directory.subdirectory("pool"), access, self._stop_reason)
        self._cleaner = Cleaner(self._rows, self._clones, self._leases, self._changed)

    def start(self) -> None:
        """Take up what an earlier server left, and begin to look after the slots."""
        rows = self._rows.take_up()
        for row in rows:
            if row["state"] == State.LENT:
                # All of it: while there was no server, nobody could say that it goes on.
                self._leases.begin(row["id"], row["lease_s"])
        self._clones.discard_unknown(frozenset(row["id"] for row in rows))
        self._cleaner.start()

    def close(self) -> None:
        """Refuse the waiting clients, and stop the git commands."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        self._cleaner.close()

    def allocate(self, wanted: AllocationRequest) -> dict[str, Any]:
        """Lend a slot and return its row.

        Raises:
            Problem: none is free, or none can be made.
        """
        deadline = time.monotonic() + wanted.wait_s
        with self._counted(), self._under_key(wanted, deadline) as known:
            if known is not None:
                return known
            row = self._wait(wanted, deadline)
            return self._prepared(row, wanted)

    def release(self, slot_id: str, token: str) -> dict[str, Any]:
        """Take a slot back; without a token from whoever has it. Returns its row.

        Raises:
            Problem: it is somebody else's by now, or is just being prepared for somebody.
        """
        with self._changed:
            row, was_lent = self._rows.release(slot_id, token)
            if was_lent:
                self._leases.end(slot_id)
                self._changed.notify_all()
        return row

    def heartbeat(self, slot_id: str, token: str) -> dict[str, Any]:
        """Begin a lease anew and return the slot's row.

        Raises:
            Problem: the lease has ended.
        """
        with self._changed:
            row = self._rows.held_under(slot_id, token)
            self._leases.begin(slot_id, row["lease_s"])
        return row

    def rows(self) -> list[dict[str, Any]]:
        """Return the rows of all slots; the database must be connected."""
        return self._rows.all()

    def find(self, slot_id: str) -> dict[str, Any]:
        """Return the row of a slot; the database must be connected.

        Raises:
            Problem: there is none (404).
        """
        return self._rows.find(slot_id)

    def waiting(self, repository: str) -> int:
        """Return how many wait for a slot of a repository."""
        with self._changed:
            return len(self._queues.get(repository, ()))

    def describe(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return what anybody may know of a slot."""
        held = row["state"] in HELD
        return {
            "slot_id": row["id"],
            "slot_path": str(self._clones.path(row["id"])),
            "repo_url": row["address"],
            "state": public(row["state"]),
            "required_by": row["holder"] if held else None,
            "lease_seconds": row["lease_s"] if held else None,
            "expires_in_seconds": self._leases.left_s(row["id"]) if held else None,
            "changed_at": row["changed_at"] / 1e6,
        }

    @contextlib.contextmanager
    def _counted(self) -> Iterator[None]:
        """Count a request, which holds a thread for as long as it waits.

        Raises:
            Problem: there are too many (503).
        """
        with self._changed:
            if self._allocating >= lending.MOST_WAITING:
                raise too_many()
            self._allocating += 1
        try:
            yield
        finally:
            with self._changed:
                self._allocating -= 1

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
        row = self._rows.lent_under(wanted.key)
        if row is not None and row["repository"] != wanted.url.identity:
            raise conflict("KEY_IN_USE", "this Idempotency-Key was used for another repository")
        return row

    def _wait(self, wanted: AllocationRequest, deadline: float) -> dict[str, Any]:
        """Return the row of a slot that is now being prepared for the request."""
        ticket = object()
        with self._changed:
            queue = self._queues[wanted.url.identity]
            queue.append(ticket)
            try:
                while True:
                    self._check_open()
                    is_first = queue[0] is ticket
                    row = self._rows.claim(wanted, self.size) if is_first else None
                    if row is not None:
                        return row
                    left_s = deadline - time.monotonic()
                    if left_s <= 0 and is_first and self._rows.is_cleaning(wanted.url.identity):
                        left_s += CLEANING_S
                    if left_s <= 0:
                        raise self._none_free(wanted)
                    self._changed.wait(left_s)
            finally:
                queue.remove(ticket)
                if not queue:
                    del self._queues[wanted.url.identity]
                self._changed.notify_all()

    def _prepared(self, row: dict[str, Any], wanted: AllocationRequest) -> dict[str, Any]:
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
                self._rows.change(row["id"], **done, changed_at=t.now())
                if done["state"] == State.LENT:
                    self._leases.begin(row["id"], wanted.lease_s)
                self._changed.notify_all()
        logger.info(
            "slot %s is lent to %s",
            row["id"],
            wanted.holder,
            extra={"action": "slot_lent"},
        )
        return {**row, **done}

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
