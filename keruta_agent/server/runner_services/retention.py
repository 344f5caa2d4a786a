"""The retention of artifacts: each type is kept for its days, and then removed."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Any, Final

import peewee

from keruta_agent.server.store import artifact_files
from keruta_agent.server.store.store import Store

logger = logging.getLogger(__name__)

#: Seconds between looks for what has become too old.
_LOOK_INTERVAL_S: Final = 600.0
_DAY_S: Final = 24 * 3600


class Retention:
    """Removes artifacts that were kept long enough, in a thread."""

    def __init__(self, store: Store, days: Mapping[str, float]) -> None:
        self._store = store
        #: By their types; artifacts of others are kept for ever.
        self._days = dict(days)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="runner-services", daemon=True)

    def start(self) -> None:
        """Remove what is too old, now and from time to time."""
        self._thread.start()

    def close(self) -> None:
        """Stop removing."""
        self._closing.set()
        if self._thread.ident is not None:
            self._thread.join()

    def expires_at(self, row: Mapping[str, Any]) -> float | None:
        """Return when an artifact is removed, in seconds since 1970; None for never."""
        days = self._days.get(row["type"])
        return None if days is None else row["created_at"] / 1e6 + days * _DAY_S

    def remove_old(self) -> None:
        """Remove artifacts that were kept long enough."""
        artifacts = self._store.tables.runner_artifacts
        with self._store.writing() as change:
            for kind, days in self._days.items():
                end = self._store.database.now() - int(days * _DAY_S * 1_000_000)
                is_old = (artifacts.type == kind) & (artifacts.created_at < end)
                ids = [row["id"] for row in artifacts.select(artifacts.id).where(is_old).dicts()]
                artifacts.delete().where(is_old).execute()
                artifact_files.remove(change, ids)

    def _run(self) -> None:
        while True:
            try:
                self.remove_old()
            except (peewee.PeeweeException, OSError):
                logger.exception(
                    "old artifacts could not be removed", extra={"action": "server_storage_failed"}
                )
            if self._closing.wait(_LOOK_INTERVAL_S):
                return
