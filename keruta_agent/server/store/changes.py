"""Notifications of changes: events are stored with the change itself and numbered.

Each process passes them on to its streams from one query (``http/fanout.py``).

Log lines are too many for an event each. They are counted, and a thread stores one event a task
every quarter of a second.
"""

from __future__ import annotations

import functools
import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final

import peewee

from keruta_agent.http.bodies import to_json
from keruta_agent.http.fanout import Event, Fanout
from keruta_agent.server.store import tables as t
from keruta_agent.server.store.database import Database
from keruta_agent.server.store.notifications import Notifications
from keruta_agent.server.store.statements import Select, select, statement

logger = logging.getLogger(__name__)

#: Events kept for replay.
KEPT_EVENTS = 10_000
#: Old events are removed once in this many.
_TRIM_EVERY = 200
#: Seconds over which the log lines of a task become one event.
LOG_INTERVAL_S = 0.25
#: Streams of one process; each costs some 20 KiB and a connection.
MOST_STREAMS = 10_000
#: Seconds between looks for events of other processes in the same database, should a notification
#: be lost.
SHARED_LOOK_S = 5.0
_OWN_LOOK_S = 15.0
#: How often old answers are forgotten, in seconds.
_HOUSEKEEPING_INTERVAL_S = 3600.0
#: How long an answer is remembered under its idempotency key.
ANSWERS_KEPT_US = 7 * 24 * 3600 * 1_000_000
#: Answers that are forgotten in one transaction.
FORGOTTEN_AT_ONCE = 2000

#: Keeps the numbers of events in the order of their commits on PostgreSQL; any number will do.
_EVENT_LOCK = 0x6B657276

_LOCK: Final = statement("SELECT pg_advisory_xact_lock(?)")
_TRIM: Final = statement("DELETE FROM events WHERE number <= ?")
_FORGET: Final = statement(
    "DELETE FROM answers WHERE (scope, key) IN"
    " (SELECT scope, key FROM answers WHERE created_at < ? LIMIT ?)"
)
_NEWEST: Final = statement("SELECT MAX(number) FROM events")
#: The event that a session begins with.
_SESSION_CREATED: Final = "session_created"
#: Name, session id, data.
Announcement = tuple[str, str, Mapping[str, Any]]


class Changes:
    """What changed, for whoever listens."""

    def __init__(self, database: Database, tables: t.Tables) -> None:
        self._database = database
        self._tables = tables
        self._condition = threading.Condition()
        self._closed = False
        look_s = SHARED_LOOK_S if database.postgresql else _OWN_LOOK_S
        #: The event streams of this process.
        self.fanout = Fanout(self, look_s=look_s, most_streams=MOST_STREAMS)
        #: (task id, session id) -> lines stored and not yet announced.
        self._log_counts: Counter[tuple[str, str]] = Counter()
        self._notifications = Notifications(database, self.wake) if database.postgresql else None
        self._thread = threading.Thread(
            target=self._announce_logs, name="server-changes", daemon=True
        )

    def start(self) -> None:
        """Start announcing log lines, and listening to other processes."""
        self._thread.start()
        if self._notifications is not None:
            self._notifications.start()

    def close(self) -> None:
        """Stop announcing log lines, and listening."""
        if self._notifications is not None:
            self._notifications.close()
        with self._condition:
            self._closed = True
            self._condition.notify_all()
        if self._thread.ident is not None:
            self._thread.join()

    def store(self, announcements: Sequence[Announcement]) -> None:
        """Store events; to be called last in the transaction that they tell of."""
        if not announcements:
            return
        if self._database.postgresql:
            self._database.run(_LOCK, _EVENT_LOCK)
        for name, session_id, data in announcements:
            event = {
                "session_id": session_id,
                "name": name,
                "data": to_json(data),
                "created_at": t.now(),
            }
            number = self._database.insert("events", event)
            if number % _TRIM_EVERY == 0:
                self._database.run(_TRIM, number - KEPT_EVENTS)
        if self._notifications is not None:
            self._notifications.send()

    def wake(self) -> None:
        """Have the streams look for events; to be called when the transaction is through."""
        self.fanout.wake()

    def count_logs(self, task_id: str, session_id: str, lines: int) -> None:
        """Count stored log lines of a task, to be announced soon."""
        with self._condition:
            self._log_counts[task_id, session_id] += lines
            self._condition.notify_all()

    def newest(self) -> int:
        """Return the number of the newest event, 0 when there was none yet."""
        with self._database.connected():
            return int(self._database.run(_NEWEST).fetchone()[0] or 0)

    def after(self, number: int, topics: Collection[str], limit: int) -> list[Event]:
        """Return the events after a number, of some sessions or of all, oldest first."""
        with self._database.connected():
            rows = self._database.all(_after(len(topics)), number, *topics, limit)
        return [_event(row) for row in rows]

    def _announce_logs(self) -> None:
        housekeeping_due = time.monotonic()
        while not self._closed:
            if time.monotonic() >= housekeeping_due:
                self._quietly(self.forget_old_answers)
                housekeeping_due = time.monotonic() + _HOUSEKEEPING_INTERVAL_S
            with self._condition:
                self._condition.wait_for(
                    lambda: self._closed or bool(self._log_counts),
                    housekeeping_due - time.monotonic(),
                )
                # More lines of the same burst follow; gather them.
                self._condition.wait_for(lambda: self._closed, LOG_INTERVAL_S)
                counts, self._log_counts = self._log_counts, Counter()
            if counts:
                self._quietly(functools.partial(self._store_log_counts, counts))

    def _quietly(self, work: Callable[[], None]) -> None:
        # The thread has to outlive a full disk or a lost connection: events are hints.
        try:
            with self._database.connected():
                work()
        except (peewee.DatabaseError, peewee.InterfaceError):
            logger.warning(
                "cannot store what changed",
                exc_info=True,
                extra={"action": "server_events_lost"},
            )

    def _store_log_counts(self, counts: Mapping[tuple[str, str], int]) -> None:
        with self._database.transaction():
            self.store(
                [
                    ("task_logs", session_id, {"taskId": task_id, "count": count})
                    for (task_id, session_id), count in counts.items()
                ]
            )
        self.wake()

    def forget_old_answers(self) -> None:
        """Forget the answers whose keys are older than a week.

        Some at a time: a busy hour leaves half a million, and other writes wait meanwhile.
        """
        oldest = self._database.now() - ANSWERS_KEPT_US
        while self._database.run(_FORGET, oldest, FORGOTTEN_AT_ONCE).rowcount:
            if self._closed:
                return


@functools.lru_cache(64)
def _after(topics: int) -> Select:
    """Return the query of events after a number, of so many sessions or of all."""
    of_topics = f" AND session_id IN ({', '.join('?' * topics)})" if topics else ""
    return select("events", f"number > ?{of_topics} ORDER BY number LIMIT ?")


def _event(row: dict[str, Any]) -> Event:
    # Stored JSON is sent as it is: to read and write it again would cost more than the query.
    session_id = to_json(row["session_id"])
    text = (
        f'{{"sessionId":{session_id},"data":{row["data"]},"timestamp":{row["created_at"] // 1000}}}'
    )
    data = f"id: {row['number']}\nevent: {row['name']}\ndata: {text}\n\n"
    return Event(
        number=row["number"],
        topic=row["session_id"],
        frame=data.encode(),
        groups=_workspaces(row["data"]) if row["name"] == _SESSION_CREATED else (),
    )


def _workspaces(data: str) -> Collection[str]:
    """Return by what a new session's workspace is known: its id and the session's name."""
    created = json.loads(data)
    return {created[name] for name in ("workspaceId", "name") if created.get(name)}
