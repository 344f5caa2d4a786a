"""What other servers stored, noticed at once: PostgreSQL's LISTEN on a connection of its own.

A notification only wakes the reader of events. So one that is lost, while the connection is away or
behind a pooler that passes none on, costs time until the reader's next look, and never an event.
"""

from __future__ import annotations

import contextlib
import logging
import os
import select
import threading
import uuid
from typing import TYPE_CHECKING, Any, Final

from keruta_agent.core.backoff import Backoff
from keruta_agent.server.store import postgresql
from keruta_agent.server.store.statements import statement

if TYPE_CHECKING:
    from collections.abc import Callable

    from keruta_agent.server.store.database import Database

logger = logging.getLogger(__name__)

#: Of PostgreSQL, in the database that the servers share.
CHANNEL: Final = "keruta_events"
_NOTIFY: Final = statement("SELECT pg_notify(?, ?)")
#: Pauses between attempts to listen again.
_BACKOFF: Final = Backoff(first_s=0.1, longest_s=5.0)


class Notifications:
    """Tells other servers that there are new events, and wakes somebody when they tell us."""

    def __init__(self, database: Database, wake: Callable[[], None]) -> None:
        self._database = database
        self._wake = wake
        #: What this process sends is for others: it has woken its own reader already.
        self._sender = uuid.uuid4().hex
        self._stopped, self._stop = os.pipe()
        self._thread = threading.Thread(target=self._run, name="server-notifications", daemon=True)

    def start(self) -> None:
        """Start listening."""
        self._thread.start()

    def close(self) -> None:
        """Stop listening."""
        os.close(self._stop)
        if self._thread.ident is not None:
            self._thread.join()
        os.close(self._stopped)

    def send(self) -> None:
        """Have the transaction tell the other servers, when it is through."""
        self._database.run(_NOTIFY, CHANNEL, self._sender)

    def _run(self) -> None:
        import psycopg

        failures = 0
        while not self._waits_for_stop(None, _BACKOFF.delay_s(failures) if failures else 0):
            try:
                with contextlib.closing(postgresql.connect(self._database.peewee)) as connection:
                    connection.execute(f"LISTEN {CHANNEL}".encode())
                    failures = 0
                    # What was stored while nobody listened has woken nobody.
                    self._wake()
                    self._listen(connection)
                    return
            except (psycopg.Error, OSError) as exc:
                failures += 1
                # While nobody listens here, the reader looks at each attempt.
                self._wake()
                if failures == 1:
                    logger.warning(
                        "cannot listen for what other servers store (%s); trying again",
                        postgresql.reason(exc, self._database.peewee),
                        extra={"action": "server_events_lost"},
                    )

    def _listen(self, connection: Any) -> None:
        """Wake the reader at each notification, until the stop.

        Raises:
            psycopg.Error: the connection is lost.
        """
        while not self._waits_for_stop(connection, None):
            senders = [notification.payload for notification in connection.notifies(timeout=0)]
            if any(sender != self._sender for sender in senders):
                self._wake()

    def _waits_for_stop(self, connection: Any, timeout_s: float | None) -> bool:
        """Wait for the stop, for something on a connection, or for a time; return if to stop."""
        poll = select.poll()
        for file in (self._stopped, connection):
            if file is not None:
                poll.register(file, select.POLLIN)
        events = poll.poll(None if timeout_s is None else timeout_s * 1000)
        return any(file == self._stopped for file, _ in events)
