"""The content of artifacts that are deleted: removed once the database has forgotten them."""

from __future__ import annotations

from typing import Any

from keruta_agent.server.store.store import Change


def remove_with(change: Change, tasks: Any) -> None:
    """Remove the content of the artifacts of some tasks, once the change is through."""
    artifacts = change.tables.artifacts
    rows = artifacts.select(artifacts.id).where(artifacts.task.in_(tasks)).dicts()
    remove(change, [row["id"] for row in rows])


def remove(change: Change, artifact_ids: list[str]) -> None:
    """Remove the content of artifacts, once the change is through."""
    artifacts = change.store.artifacts
    change.afterwards(lambda: artifacts.remove(artifact_ids))
