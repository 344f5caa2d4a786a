"""The retention of artifacts: each type is kept for its days, and then removed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from keruta_agent.server.store.artifacts import files as artifact_files
from keruta_agent.server.store.periodic import Periodic
from keruta_agent.server.store.store import Store

#: Artifacts of one transaction.
_AT_ONCE: Final = 500
_DAY_S: Final = 24 * 3600


class Retention:
    """Removes artifacts that were kept long enough, in a thread."""

    def __init__(self, store: Store, days: Mapping[str, float]) -> None:
        self._store = store
        #: By their types; artifacts of others are kept for ever.
        self._days = dict(days)
        self._thread = Periodic("runner-services", self.remove_old)

    def start(self) -> None:
        """Remove what is too old, now and from time to time."""
        self._thread.start()

    def close(self) -> None:
        """Stop removing."""
        self._thread.close()

    def expires_at(self, row: Mapping[str, Any]) -> float | None:
        """Return when an artifact is removed, in seconds since 1970; None for never."""
        days = self._days.get(row["type"])
        return None if days is None else row["created_at"] / 1e6 + days * _DAY_S

    def remove_old(self) -> Iterator[None]:
        """Remove artifacts that were kept long enough, some a step."""
        artifacts = self._store.tables.runner_artifacts
        for kind, days in self._days.items():
            more = True
            while more:
                with self._store.writing() as change:
                    end = self._store.database.now() - int(days * _DAY_S * 1_000_000)
                    is_old = (artifacts.type == kind) & (artifacts.created_at < end)
                    found = artifacts.select(artifacts.id).where(is_old).limit(_AT_ONCE)
                    ids = [row["id"] for row in found.dicts()]
                    artifacts.delete().where(artifacts.id.in_(ids)).execute()
                    artifact_files.remove(change, ids)
                more = len(ids) == _AT_ONCE
                yield
