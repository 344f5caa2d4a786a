"""The lineage of a task, as a tree: its ancestors, its retries, and what is to fix it."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Final

from keruta_agent.server.store import tables as t
from keruta_agent.server.store.tables import Tables

#: Tasks above one another that are looked at: a longer chain is a cycle.
DEEPEST: Final = 50
MOST_TASKS: Final = 200


@dataclasses.dataclass(frozen=True, kw_only=True)
class Member:
    """A task in its tree."""

    row: Mapping[str, Any]
    depth: int
    is_fix: bool


def tree_of(tables: Tables, row: Mapping[str, Any]) -> list[Member]:
    """Return the lineage of a task, parents before their children, oldest first."""
    return list(_below(tables, _root(tables, row)))


def _root(tables: Tables, row: Mapping[str, Any]) -> Mapping[str, Any]:
    tasks = tables.tasks
    for _ in range(DEEPEST):
        if row["parent_task_id"] is None:
            break
        parent = tasks.select().where(tasks.id == row["parent_task_id"]).dicts().get()
        if parent is None:
            break
        row = parent
    return row


def _below(tables: Tables, root: Mapping[str, Any]) -> Iterator[Member]:
    tasks = tables.tasks
    waiting = [(root, 0)]
    seen: set[str] = set()
    while waiting and len(seen) < MOST_TASKS:
        row, depth = waiting.pop()
        if row["id"] in seen:
            continue
        seen.add(row["id"])
        parameters = t.from_json(row["parameters"]) or {}
        yield Member(row=row, depth=depth, is_fix=parameters.get("autoFix") is True)
        if depth < DEEPEST:
            children = tasks.select().where(tasks.parent_task_id == row["id"])
            newest_first = children.order_by(tasks.number.desc()).limit(MOST_TASKS).dicts()
            waiting += [(child, depth + 1) for child in newest_first]
