"""What only PostgreSQL needs: its URL, its driver's words, and the wait while it is not up.

A server that is started while the database restarts would otherwise end and stay down.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from urllib.parse import urlsplit

import peewee
from playhouse import db_url
from playhouse.pool import PooledPostgresqlDatabase

from keruta_agent.core import errors
from keruta_agent.core.backoff import Backoff

logger = logging.getLogger(__name__)

#: Seconds that a starting server waits for the database, and its pauses.
WAIT_S = 60
_BACKOFF = Backoff(first_s=0.25, longest_s=5.0)
#: Seconds until one attempt to connect is given up, where the URL says nothing else.
_CONNECT_TIMEOUT_S = 10


def at_url(url: str, max_connections: int) -> PooledPostgresqlDatabase:
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
    return PooledPostgresqlDatabase(
        parameters.pop("database"),
        max_connections=max_connections,
        prefer_psycopg3=True,
        autoconnect=False,
        **{"connect_timeout": _CONNECT_TIMEOUT_S} | parameters,
    )


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
            away, reason = _is_away(database), _reason(exc, database)
        # It may have come up between the attempt and the look: another attempt shows.
        failures += 1
        seen_up += not away
        pause_s = _BACKOFF.delay_s(failures)
        if seen_up > 1 or time.monotonic() + pause_s > deadline:
            raise errors.AgentStateError(
                f"cannot {'reach' if away else 'open'} the server's database {where}: {reason}",
                advice="Check that PostgreSQL runs there, and host, user and password of the URL",
            )
        if away and failures == 1:
            logger.warning(
                "the server's database %s cannot be reached yet (%s); trying for %d seconds",
                where,
                reason,
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


def _reason(failure: Exception, database: PooledPostgresqlDatabase) -> str:
    """Return what the driver says, in one line and without the passwords it was given."""
    reason = (str(failure).splitlines() or [""])[0] or type(failure).__name__
    for name, value in database.connect_params.items():
        if "password" in name and value:
            reason = reason.replace(str(value), "***")
    return reason
