"""What only PostgreSQL needs: its URL, its driver's words, and the wait while it is not up.

A server that is started while the database restarts would otherwise end and stay down.
"""

from __future__ import annotations

import logging
import select
import time
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

import peewee
from playhouse import db_url
from playhouse.pool import MaxConnectionsExceeded, PooledPostgresqlDatabase

from keruta_agent.core import errors
from keruta_agent.core.backoff import Backoff

logger = logging.getLogger(__name__)

#: Seconds that a starting server waits for the database, and its pauses.
WAIT_S = 60
_BACKOFF = Backoff(first_s=0.25, longest_s=5.0)

#: Connections of one process to its database: one for each thread that answers, one for the reader
#: of events, one for what is done beside. Servers add up, and PostgreSQL has a hundred in all.
MAX_CONNECTIONS: Final = 6
#: Seconds that a thread waits for one of them to become free.
_POOL_WAIT_S: Final = 5

#: Of each connection, where the URL says nothing else.
_PARAMETERS: Final = {
    # Seconds until one attempt to connect is given up.
    "connect_timeout": 10,
    # What people see who look who is connected.
    "fallback_application_name": "keruta-server",
    # A database that has vanished without a word is noticed in half a minute.
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}


class _Pool(PooledPostgresqlDatabase):  # type: ignore[misc]  # peewee has no types
    """A pool that hands out no connection that the database has ended meanwhile."""

    def connect(self, reuse_if_open: bool = False) -> bool:
        """Take a connection for this thread.

        Raises:
            OperationalError: the database takes no more, or all of the pool are in use.
        """
        try:
            return bool(super().connect(reuse_if_open))
        except MaxConnectionsExceeded:
            raise peewee.OperationalError(
                f"all {MAX_CONNECTIONS} connections to the database were in use"
                f" for {_POOL_WAIT_S} seconds"
            ) from None

    def _is_closed(self, conn: Any) -> bool:
        """Return whether the database has ended a connection; peewee would ask it by a query."""
        if conn.closed:
            return True
        # Nobody has asked anything on an idle connection: what comes is the farewell.
        poll = select.poll()
        poll.register(conn, select.POLLIN)
        if not poll.poll(0):
            return False
        self._close_raw(conn)
        return True


def at_url(url: str) -> PooledPostgresqlDatabase:
    """Return the pool of connections that a URL names; none is made yet.

    Raises:
        SettingsError: the URL is invalid.
    """
    scheme = urlsplit(url).scheme.removesuffix("+pool")
    if scheme not in {"postgres", "postgresql"}:
        raise errors.SettingsError(
            f"the database URL begins with {scheme or 'no scheme'!r}",
            advice="Use postgresql://user:password@host/name, or none for a SQLite file",
        )
    try:
        parameters = db_url.parse(url, unquote_user=True, unquote_password=True)
    except ValueError:
        raise errors.SettingsError(
            "the database URL cannot be read",
            advice="Use postgresql://user:password@host/name",
        ) from None
    return _Pool(
        parameters.pop("database"),
        max_connections=MAX_CONNECTIONS,
        timeout=_POOL_WAIT_S,
        prefer_psycopg3=True,
        autoconnect=False,
        **_PARAMETERS | parameters,
    )


def connect(database: PooledPostgresqlDatabase) -> Any:
    """Return a connection beside the pool, on which each statement is a transaction.

    Raises:
        psycopg.Error: the database takes none.
    """
    import psycopg

    return psycopg.connect(dbname=database.database, autocommit=True, **database.connect_params)


def when_up(database: PooledPostgresqlDatabase, where: str, work: Callable[[], None]) -> None:
    """Do work on the database; wait a while for one that takes no connections yet.

    Raises:
        AgentStateError: it is still away after the wait, or it refuses this user.
    """
    deadline = time.monotonic() + WAIT_S
    failures = seen_up = 0
    while True:
        try:
            return work()
        except peewee.OperationalError as exc:
            away, why = _is_away(database), reason(exc, database)
        # It may have come up between the attempt and the look: another attempt shows.
        failures += 1
        seen_up += not away
        pause_s = _BACKOFF.delay_s(failures)
        if seen_up > 1 or time.monotonic() + pause_s > deadline:
            raise errors.AgentStateError(
                f"cannot {'reach' if away else 'open'} the server's database {where}: {why}",
                advice="Check that PostgreSQL runs there, and host, user and password of the URL",
            )
        if away and failures == 1:
            logger.warning(
                "the server's database %s cannot be reached yet (%s); trying for %d seconds",
                where,
                why,
                WAIT_S,
                extra={"action": "server_database_awaited"},
            )
        time.sleep(pause_s)


def _is_away(database: PooledPostgresqlDatabase) -> bool:
    """Whether nothing answers there, or what answers takes no connections now.

    Asked of the driver's library, as the texts of failures come in the server's language.
    """
    import psycopg
    from psycopg import conninfo, pq

    try:
        asked = conninfo.make_conninfo(dbname=database.database, **database.connect_params)
    except psycopg.ProgrammingError:
        return False
    return pq.PGconn.ping(asked.encode()) in {pq.Ping.NO_RESPONSE, pq.Ping.REJECT}


def reason(failure: Exception, database: PooledPostgresqlDatabase) -> str:
    """Return what the driver says, in one line and without the passwords it was given."""
    text = (str(failure).splitlines() or [""])[0] or type(failure).__name__
    for name, value in database.connect_params.items():
        if "password" in name and value:
            text = text.replace(str(value), "***")
    return text
