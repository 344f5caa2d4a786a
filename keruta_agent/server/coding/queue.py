"""Huey's queue of the pool, on what a URL names. It carries numbers and may lose them.

A message says "a task may be waiting", and by which number; which task is done is decided by the
claim. What lost its message is announced anew.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from huey import SqliteHuey
from huey.api import Huey

from keruta_agent.core import errors
from keruta_agent.core.huey_messages import JsonSerializer
from keruta_agent.server.store.database import Database
from keruta_agent.server.store.statements import statement

NAME: Final = "keruta-coding"
FILE_NAME: Final = "coding-queue.db"
#: Of the database's advisory locks, the one under which Huey makes its tables.
_TABLES_LOCK: Final = 7_305_119
_LOCK: Final = statement("SELECT 1", postgresql="SELECT pg_advisory_xact_lock(?)")


def open_queue(database: Database, data_dir: Path, url: str | None) -> Huey:
    """Open the queue at a URL; without one, beside the database.

    Raises:
        SettingsError: the URL names nothing that carries a queue, or its driver is missing.
    """
    common: dict[str, Any] = {"results": False, "serializer": JsonSerializer()}
    scheme = urlsplit(url).scheme if url else ""
    if url is None or scheme == "sqlite":
        path = data_dir / FILE_NAME if url is None else _path(url)
        os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        return SqliteHuey(NAME, filename=str(path), cache_mb=1, fsync=False, **common)
    if scheme in ("postgresql", "postgres"):
        return _postgresql(database, url, common)
    if scheme in ("redis", "rediss", "unix"):
        return _redis(url, common)
    raise errors.SettingsError(
        f"no queue can be kept at a URL of the kind {scheme or 'that has none'!r}",
        advice="Use sqlite:///FILE, postgresql://... or redis://...",
    )


def _path(url: str) -> Path:
    """Return the file of a URL such as ``sqlite:////var/lib/keruta/queue.db``."""
    parts = urlsplit(url)
    path = parts.path.removeprefix("/")
    if parts.netloc or not path:
        raise errors.SettingsError(
            "the URL of the queue names no file", advice="Write sqlite:///FILE"
        )
    return Path(path)


def _postgresql(database: Database, url: str, common: dict[str, Any]) -> Huey:
    from huey import PostgresHuey
    from huey.exceptions import ConfigurationError

    try:
        # Huey makes its tables without a lock: of workers that start together some would fail.
        with database.writing():
            if database.postgresql:
                database.run(_LOCK, _TABLES_LOCK)
            # Blocking, each idle thread would keep a connection of its own to listen on.
            return PostgresHuey(NAME, dsn=url, blocking=False, **common)
    except ConfigurationError:
        raise errors.SettingsError(
            "the driver for PostgreSQL is not installed",
            advice="Install it with: pip install 'keruta-agent[postgresql]'",
        ) from None


def _redis(url: str, common: dict[str, Any]) -> Huey:
    try:
        from huey import RedisHuey

        return RedisHuey(NAME, url=url, **common)
    except ImportError:
        raise errors.SettingsError(
            "the driver for Redis is not installed",
            advice="Install it with: pip install 'keruta-agent[redis]'",
        ) from None
