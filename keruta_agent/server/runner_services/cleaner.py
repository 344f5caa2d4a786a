"""The cleaner of the pool: takes back slots of silent holders, and cleans those given back."""

from __future__ import annotations

import logging
import threading
from typing import Any, Final

import peewee

from keruta_agent.server.runner_services.clones import Clones
from keruta_agent.server.runner_services.leases import Leases
from keruta_agent.server.runner_services.lending import State
from keruta_agent.server.runner_services.slot_rows import SlotRows

logger = logging.getLogger(__name__)

#: Seconds after which the cleaner looks, even when nothing woke it.
_LOOK_S: Final = 60.0
#: Seconds until the cleaner retries what failed.
_PAUSE_S: Final = 5.0


class Cleaner:
    """A thread that looks after slots which nobody holds, or holds no longer."""

    def __init__(
        self, rows: SlotRows, clones: Clones, leases: Leases, changed: threading.Condition
    ) -> None:
        """Take the parts of the pool; ``changed`` guards them, and is notified of changes."""
        self._rows = rows
        self._clones = clones
        self._leases = leases
        self._changed = changed
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="repo-pool", daemon=True)

    def start(self) -> None:
        """Begin to look after the slots."""
        self._thread.start()

    def close(self) -> None:
        """Finish the slot at hand, and end."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
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
            row = self._rows.begin_cleaning(self._needs_work)
            if row is None:
                if not self._closing:
                    self._changed.wait(self._leases.next_end_s(_LOOK_S))
                return
        usable = False
        try:
            if row["state"] == State.DIRTY:
                usable = self._clones.tidy(row["id"])
            else:
                self._clones.discard(row["id"])
        finally:
            with self._changed:
                self._rows.change(row["id"], state=State.FREE if usable else State.CONDEMNED)
                self._changed.notify_all()

    def _needs_work(self, row: dict[str, Any]) -> bool:
        # The directory of a slot that must go is removed once; then its row is as good as new.
        return row["state"] == State.DIRTY or self._clones.path(row["id"]).exists()

    def _expire(self) -> None:
        for slot_id in self._leases.expired():
            self._rows.expire(slot_id)
            self._leases.end(slot_id)
            self._changed.notify_all()
            logger.warning(
                "slot %s was taken back: its holder gave no sign of life",
                slot_id,
                extra={"action": "slot_expired"},
            )
