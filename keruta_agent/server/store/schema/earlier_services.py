"""The database that the runner's services once had of their own, taken over into the store.

What was said to them lives on, and so do the slots that they have lent.
"""

from __future__ import annotations

import contextlib
import logging
import sqlite3
from collections.abc import Callable, Iterator
from typing import Any, Final

from keruta_agent.core import errors
from keruta_agent.server.store import tables as t
from keruta_agent.server.store.data_directory import DataDirectory
from keruta_agent.server.store.database import Database

logger = logging.getLogger(__name__)

FILE_NAME: Final = "runner-services.db"
#: Added to its name when all of it has been taken over.
TAKEN_OVER: Final = ".taken-over"

#: Rows of one statement.
_BATCH: Final = 500

Row = dict[str, Any]


def take_over(directory: DataDirectory, database: Database, tables: t.Tables) -> None:
    """Take over what is in the earlier database of a directory, once.

    Raises:
        AgentStateError: it cannot be read.
    """
    path = directory.path / FILE_NAME
    if not path.exists():
        return
    try:
        with contextlib.closing(sqlite3.connect(path)) as earlier:
            earlier.row_factory = sqlite3.Row
            with database.connected(), database.transaction():
                _take_over_once(earlier, tables, directory.identity)
        path.rename(path.with_name(path.name + TAKEN_OVER))
    except (OSError, sqlite3.Error) as exc:
        raise errors.AgentStateError(
            f"cannot take over the runner services' earlier database {path}: {exc}",
            advice="Restore it from a copy, or move it away to begin without what it holds",
        ) from exc
    logger.info("took over %s", path, extra={"action": "server_database_taken_over"})


def _take_over_once(earlier: sqlite3.Connection, tables: t.Tables, directory: str) -> None:
    made_at = _made_at(earlier)
    if made_at is None:
        return
    # The file is renamed after the commit: killed in between, it would be taken over twice.
    note = f"{FILE_NAME} of {directory}, made at {made_at}"
    noted = tables.schema_migrations
    if noted.select().where(noted.name == note).count():
        return
    _copy(earlier, tables, directory)
    noted.insert(name=note, applied_at=t.now()).execute()


def _made_at(earlier: sqlite3.Connection) -> int | None:
    """Return when its tables were made, all at once; None if they never were."""
    found = earlier.execute("SELECT 1 FROM sqlite_master WHERE name = 'schema_migrations'")
    if found.fetchone() is None:
        return None
    made_at: int | None = earlier.execute(
        "SELECT min(applied_at) FROM schema_migrations"
    ).fetchone()[0]
    return made_at


def _copy(earlier: sqlite3.Connection, tables: t.Tables, directory: str) -> None:
    tasks = tables.registry_tasks
    numbers: dict[int, int] = {}
    for row in _rows(earlier, "registry_tasks"):
        number = row.pop("number")
        tasks.insert(**row).on_conflict_ignore().as_rowcount().execute()
        # Others who share the database may know the task already.
        is_it = (tasks.id == row["id"]) & (tasks.spec_name == row["spec_name"])
        numbers[number] = tasks.select(tasks.number).where(is_it).scalar()

    def of_task(row: Row) -> Row:
        return {**_unnumbered(row), "task": numbers[row["task"]]}

    def of_pool(row: Row) -> Row:
        return {**_unnumbered(row), "pool": directory}

    for name, table, change in (
        ("registry_statuses", tables.registry_statuses, of_task),
        ("registry_events", tables.registry_events, of_task),
        ("registry_artifacts", tables.registry_artifacts, of_task),
        ("slots", tables.pool_slots, of_pool),
        ("artifacts", tables.runner_artifacts, _unnumbered),
        ("answers", tables.answers, _unnumbered),
    ):
        _insert(table, earlier, name, change)


def _insert(
    table: Any, earlier: sqlite3.Connection, name: str, change: Callable[[Row], Row]
) -> None:
    batch: list[Row] = []
    for row in _rows(earlier, name):
        batch.append(change(row))
        if len(batch) == _BATCH:
            _insert_batch(table, batch)
            batch = []
    if batch:
        _insert_batch(table, batch)


def _insert_batch(table: Any, batch: list[Row]) -> None:
    table.insert(batch).on_conflict_ignore().as_rowcount().execute()


def _rows(earlier: sqlite3.Connection, name: str) -> Iterator[Row]:
    """Yield the rows of a table in the order in which they came."""
    for row in earlier.execute(f"SELECT * FROM {name} ORDER BY rowid"):  # noqa: S608
        yield dict(row)


def _unnumbered(row: Row) -> Row:
    return {name: value for name, value in row.items() if name != "number"}
