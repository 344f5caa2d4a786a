"""Notifications of changes: events are stored with the change itself and numbered.

Log lines are too many for an event each. They are counted, and a thread stores one event a task
every quarter of a second.
"""

from __future__ import annotations

import functools
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import peewee

from keruta_agent.http.bodies import to_json
from keruta_agent.server.store import tables as t
from keruta_agent.server.store.database import Database

logger = logging.getLogger(__name__)

#: Events kept for replay.
KEPT_EVENTS = 10_000
#: Old events are removed once in this many.
_TRIM_EVERY = 200
#: Seconds over which the log lines of a task become one event.
LOG_INTERVAL_S = 0.25
#: How often old answers are forgotten, in seconds.
_HOUSEKEEPING_INTERVAL_S = 3600.0
#: How long an answer is remembered under its idempotency key.
ANSWERS_KEPT_US = 7 * 24 * 3600 * 1_000_000

#: Keeps the numbers of events in the order of their commits on PostgreSQL; any number will do.
_EVENT_LOCK = 0x6B657276

#: Name, session id, data.
Announcement = tuple[str, str, Mapping[str, Any]]


class Changes:
    """What changed, for whoever listens."""

    def __init__(self, database: Database, tables: t.Tables) -> None:
        self._database = database
        self._tables = tables
        self._condition = threading.Condition()
        self._generation = 0
        self._closed = False
        #: (task id, session id) -> lines stored and not yet announced.
        self._log_counts: Counter[tuple[str, str]] = Counter()
        self._thread = threading.Thread(
            target=self._announce_logs, name="server-changes", daemon=True
        )

    def start(self) -> None:
        """Start announcing log lines."""
        self._thread.start()

    def close(self) -> None:
        """End every wait, and with it every stream."""
        with self._condition:
            self._closed = True
            self._condition.notify_all()
        if self._thread.ident is not None:
            self._thread.join()

    @property
    def closed(self) -> bool:
        """Whether the server stops."""
        return self._closed

    @property
    def generation(self) -> int:
        """A number that grows with every change; read it before looking for events."""
        return self._generation

    def wait(self, generation: int, timeout_s: float) -> None:
        """Wait until something changed since ``generation``, or the server stops."""
        with self._condition:
            self._condition.wait_for(
                lambda: self._closed or self._generation != generation, timeout_s
            )

    def store(self, announcements: Sequence[Announcement]) -> None:
        """Store events; to be called last in the transaction that they tell of."""
        if not announcements:
            return
        if self._database.postgresql:
            self._database.peewee.execute_sql("SELECT pg_advisory_xact_lock(%s)", (_EVENT_LOCK,))
        events = self._tables.events
        for name, session_id, data in announcements:
            number = events.insert(
                session_id=session_id, name=name, data=to_json(data), created_at=t.now()
            ).execute()
            if number % _TRIM_EVERY == 0:
                events.delete().where(events.number <= number - KEPT_EVENTS).execute()

    def wake(self) -> None:
        """Wake the listeners; to be called when the transaction is through."""
        with self._condition:
            self._generation += 1
            self._condition.notify_all()

    def count_logs(self, task_id: str, session_id: str, lines: int) -> None:
        """Count stored log lines of a task, to be announced soon."""
        with self._condition:
            self._log_counts[task_id, session_id] += lines
            self._condition.notify_all()

    def newest(self) -> int:
        """Return the number of the newest event, 0 when there was none yet."""
        events = self._tables.events
        return int(events.select(peewee.fn.MAX(events.number)).scalar() or 0)

    def after(self, number: int, session_id: str | None, limit: int) -> list[dict[str, Any]]:
        """Return the events after a number, oldest first."""
        events = self._tables.events
        query = events.select().where(events.number > number)
        if session_id is not None:
            query = query.where(events.session_id == session_id)
        return list(query.order_by(events.number).limit(limit).dicts())

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
        """Forget the answers whose keys are older than a week."""
        answers = self._tables.answers
        answers.delete().where(answers.created_at < t.now() - ANSWERS_KEPT_US).execute()
