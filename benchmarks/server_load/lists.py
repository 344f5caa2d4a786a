"""Scenario of long lists: the newest lines of a million, and all tasks of years.

Writing a million rows over the API would take minutes. They are made by one statement in the
database of a server that has created its tables, and is started again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from benchmarks.agent import memory_mb
from benchmarks.server_load.connection import LIST_TIMEOUT_S, Answer, Client
from benchmarks.server_load.figures import Figures, percentile
from benchmarks.server_load.subject import Meter, Running, Subject, running_server

#: Times that a small list is read, unless one of them takes longer than this.
_READ_OFTEN = 20
_SLOW_S = 1.0
_SESSION = "5e551011-0000-4000-8000-000000000000"
#: The first tasks, which have the lines: nearly all the one, a few of the oldest the other.
_LOUD, _QUIET = (f"7a510000-0000-4000-8000-{number:012}" for number in (1, 2))
_QUIET_LINES = 100

_SESSION_ROW = f"""INSERT INTO sessions (id, id_folded, name, name_folded, description, status,
    tags, created_at, updated_at)
VALUES ('{_SESSION}', '{_SESSION}', 'years', 'years', '', 'ACTIVE', '[]', 1, 1)"""

#: The same for SQLite and PostgreSQL; every hundredth task waits.
_TASK_ROWS = """WITH RECURSIVE numbers (i) AS
    (SELECT 1 UNION ALL SELECT i + 1 FROM numbers WHERE i < {tasks})
INSERT INTO tasks (id, session_id, name, description, script, status, message, progress,
    error_code, priority, parameters, created_at, updated_at)
SELECT '7a510000-0000-4000-8000-' ||
        substr('000000000000' || CAST(i AS TEXT), length(CAST(i AS TEXT)) + 1),
    '{session}', 'build ' || CAST(i AS TEXT), 'Builds and tests the product', 'make all test',
    CASE WHEN i % 100 = 0 THEN 'PENDING' ELSE 'COMPLETED' END, 'done', 100, '', 0, '{{}}',
    1790000000000000 + i, 1790000000000000 + i
FROM numbers"""
_LOG_ROWS = """WITH RECURSIVE numbers (i) AS
    (SELECT 1 UNION ALL SELECT i + 1 FROM numbers WHERE i < {lines})
INSERT INTO log_entries (task, level, source, message, logged_at)
SELECT CASE WHEN i <= {quiet} THEN 2 ELSE 1 END, 'INFO', 'stdout',
    '[' || CAST(i AS TEXT) || '] Building C object src/module.c.o, -O2 -g',
    1790000000000000 + i
FROM numbers"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Size:
    """Rows of the lists."""

    tasks: int
    lines: int


@contextlib.contextmanager
def filled_server(
    subject: Subject, directory: Path, size: Size, *, token: str | None, database_url: str | None
) -> Iterator[Running]:
    """Run a server whose database is full, for the length of the block.

    Of a ``database_url`` only the server counts: the database is a new one, dropped afterwards.
    """
    with _empty_database(database_url) as url:
        options = {"token": token, "database_url": url}
        with running_server(subject, directory, **options):
            pass
        _fill(directory / "server" / "server.db", url, size)
        with running_server(subject, directory, **options) as server:
            yield server


def _fill(file: Path, url: str | None, size: Size) -> None:
    statements = (
        _SESSION_ROW,
        _TASK_ROWS.format(tasks=max(2, size.tasks), session=_SESSION),
        _LOG_ROWS.format(lines=size.lines, quiet=min(_QUIET_LINES, size.lines)),
    )
    if url is not None:
        with _postgresql(url) as connection:
            for statement in (*statements, "ANALYZE"):
                connection.execute(statement)
        return
    with contextlib.closing(sqlite3.connect(file)) as database, database:
        for statement in statements:
            database.execute(statement)


@contextlib.contextmanager
def _empty_database(url: str | None) -> Iterator[str | None]:
    if url is None:
        yield None
        return
    name = f"keruta_load_{os.getpid()}"
    with _postgresql(url) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    try:
        yield urlsplit(url)._replace(path=f"/{name}").geturl()
    finally:
        with _postgresql(url) as connection:
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")


def _postgresql(url: str) -> Any:
    import psycopg

    return psycopg.connect(url, autocommit=True)


async def read_lists(server: Running, size: Size) -> Figures:
    """Read each list: some often, the ones without an end once."""
    loud, quiet = (f"/api/v1/tasks/{task}/logs" for task in (_LOUD, _QUIET))
    some = {
        "newest 100 lines": f"{loud}?order=desc&size=100",
        "newest 5 lines": f"{loud}?order=desc&size=5",
        "newest lines of a quiet task": f"{quiet}?order=desc&size=100",
        "oldest 100 lines": f"{loud}?order=asc&size=100",
        "lines behind the last but 100": f"{loud}?order=asc&size=100&after={size.lines - 100}",
        "middle page of lines": f"{loud}?order=asc&size=100&page={size.lines // 200}",
        "count of lines": f"{loud}/count",
        "tasks, size=100": "/api/v1/tasks?page=0&size=100",
    }
    whole = {
        "10,000 lines": f"{loud}?order=desc&size=10000",
        "pending tasks": f"/api/v1/sessions/{_SESSION}/tasks?status=PENDING",
        "all tasks": "/api/v1/tasks",
    }
    figures: Figures = {}
    client = Client(server.requests.host, server.requests.port)
    for name, path in some.items():
        figures |= await _read(server, client, name, path)
    figures["RSS MB before the whole ones"] = memory_mb(server.pid)
    for name, path in whole.items():
        figures |= await _read(server, client, name, path, most=1)
        figures[f"{name}: peak RSS MB so far"] = memory_mb(server.pid, "VmHWM")
    client.close()
    return figures


async def _read(
    server: Running, client: Client, name: str, path: str, most: int = _READ_OFTEN
) -> Figures:
    request = server.requests.get(path)
    meter = Meter(server)
    answers: list[Answer] = []
    while len(answers) < most:
        answer = await client.ask(request, keep=False, timeout_s=LIST_TIMEOUT_S)
        answers.append(answer)
        if answer.status >= 300:
            return {f"{name}: refused with": answer.status}
        if answer.took_s > _SLOW_S:
            break
    first_byte_s = percentile([each.first_byte_s for each in answers], 50)
    return {
        f"{name} p50 ms": percentile([each.took_s for each in answers], 50) * 1000,
        **({f"{name} first byte ms": first_byte_s * 1000} if most == 1 else {}),
        f"{name} CPU ms": meter.server_seconds() / len(answers) * 1000,
        f"{name} kB": answers[-1].size / 1000,
    }
