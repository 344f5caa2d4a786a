"""A worker of the pool: takes coding tasks from the database and has runners do them.

Huey carries numbers from whoever announces a task to whoever is free; the claim decides which task
it is. Huey acknowledges nothing, so that a worker that dies has lost its message: what waits is
announced anew, and an attempt whose lease has ended goes back to its task's retry rule.
"""

from __future__ import annotations

import functools
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable
from typing import Any, Final

import peewee
from huey import crontab
from huey.api import Huey
from huey.consumer import Consumer

import keruta_agent
from keruta_agent.server.coding import announcements, attempts, workers
from keruta_agent.server.coding.attempts import Claim, Ending, Outcome
from keruta_agent.server.coding.executor import Execution, Executor
from keruta_agent.server.store.database import Database

logger = logging.getLogger(__name__)

#: Seconds between two looks for cancelled attempts and for tasks to announce.
LOOK_S: Final = 1.0
#: Seconds between two looks for the end of the last runner.
DRAIN_LOOK_S: Final = 0.1
#: Renewals that fit into a lease: two of them may fail.
RENEWALS: Final = 3
#: Seconds between two looks for what dead workers left, and for the last one.
TIDY_EVERY_S: Final = 15.0
TIDY_END_S: Final = 20.0
#: What a database that is away raises; it is asked again at the next look.
_AWAY: Final = (peewee.DatabaseError, peewee.InterfaceError)


class PoolWorker:
    """One process of the pool, with as many runners at a time as it is told."""

    def __init__(
        self,
        database: Database,
        queue: Huey,
        executor: Executor,
        *,
        concurrency: int,
        lease_s: float,
    ) -> None:
        self._database = database
        self._queue = queue
        self._executor = executor
        self._lease_s = lease_s
        host = socket.gethostname()
        self.worker = workers.Worker(
            id=f"{host}-{os.getpid()}-{uuid.uuid4().hex[:6]}",
            host=host,
            version=keruta_agent.__version__,
            concurrency=concurrency,
        )
        self._guard = threading.Lock()
        self._running: dict[Claim, Execution | None] = {}
        self._returning: set[Claim] = set()
        self._announce_one = queue.task(name="coding_task")(self._do_next)
        queue.periodic_task(crontab(), name="coding_sweep")(self._sweep)
        logging.getLogger("huey").setLevel(logging.WARNING)
        self._consumer = _Consumer(queue, workers=concurrency, max_delay=LOOK_S)
        self._is_draining = False
        self._is_over = threading.Event()
        self._tidier = threading.Thread(target=self._tidy_often, name="tidy", daemon=True)

    def start(self) -> None:
        """Begin to take tasks.

        Raises:
            DatabaseError: the database is away.
        """
        workers.see(self._database, self.worker, is_draining=False)
        self._consumer.start()
        self._tidier.start()

    def work_until(self, stopped: Callable[[float], bool]) -> None:
        """Look after what runs, until ``stopped``, which waits for so many seconds, says so."""
        renews_at = time.monotonic()
        while not stopped(LOOK_S):
            renews = time.monotonic() >= renews_at
            if renews:
                renews_at = time.monotonic() + self._lease_s / RENEWALS
            self.look(renews=renews)

    def look(self, *, renews: bool) -> None:
        """Stop what was cancelled, announce what waits, and now and then renew the leases."""
        try:
            self._stop_cancelled()
            self._announce()
            if renews:
                self._renew()
                self._sweep()
        except _AWAY as exc:
            logger.warning(
                "the database does not answer, tries again: %s",
                type(exc).__name__,
                extra={"action": "pool_database_away"},
            )

    def drain(self, timeout_s: float, hurried: Callable[[float], bool]) -> None:
        """Take no more tasks, and wait for those that run.

        What does not end in time, or before ``hurried`` says so, is stopped and given back.
        """
        self._is_draining = True
        self._consumer.stop_flag.set()
        deadline = time.monotonic() + timeout_s
        looks = 0
        while self._running and time.monotonic() < deadline and not hurried(DRAIN_LOOK_S):
            if looks % round(LOOK_S / DRAIN_LOOK_S) == 0:
                self.look(renews=True)
            looks += 1
        with self._guard:
            left = dict(self._running)
            self._returning.update(left)
        for execution in filter(None, left.values()):
            execution.stop()
        for _, thread in self._consumer.worker_threads:
            thread.join()
        self._is_over.set()
        self._tidier.join(TIDY_END_S)
        workers.leave(self._database, self.worker)
        self._queue.storage.close()

    def _do_next(self, number: int) -> None:
        """Do the first task that waits; ``number`` is what Huey tells messages apart by."""
        if self._is_draining:
            return  # the message is lost, and the task is announced anew
        claim = attempts.claim_next(self._database, self.worker.id, self._lease_s)
        if claim is not None:
            self._do(claim)

    def _do(self, claim: Claim) -> None:
        about = {"coding_task": claim.task_id, "attempt": claim.attempt}
        logger.info(
            "coding task %s, attempt %d: %s",
            claim.task_id,
            claim.attempt,
            claim.name,
            extra={"action": "coding_began", **about},
        )
        with self._guard:
            self._running[claim] = None
        try:
            ending = self._execute(claim)
            state = self._end(claim, ending)
        finally:
            with self._guard:
                self._running.pop(claim, None)
                self._returning.discard(claim)
        logger.info(
            "coding task %s, attempt %d %s%s: %s",
            claim.task_id,
            claim.attempt,
            ending.outcome,
            f" ({ending.error.splitlines()[0]})" if ending.error else "",
            "another attempt has taken its place" if state is None else f"the task is {state}",
            extra={"action": "coding_ended", **about},
        )

    def _execute(self, claim: Claim) -> Ending:
        try:
            execution = self._executor.start(claim, lambda: self._may_push(claim))
        except OSError as exc:
            return Ending(outcome=Outcome.UNAVAILABLE, error=f"cannot start a runner: {exc}")
        with self._guard:
            self._running[claim] = execution
            is_returning = claim in self._returning
        if is_returning:  # it was to stop while it started
            execution.stop()
        ending = execution.wait()
        if claim in self._returning and ending.outcome is not Outcome.SUCCEEDED:
            return Ending(outcome=Outcome.RETURNED, error="the worker is stopping")
        return ending

    def _may_push(self, claim: Claim) -> bool:
        try:
            return attempts.may_push(self._database, claim, self._lease_s)
        except _AWAY:  # without an answer, no
            return False

    def _end(self, claim: Claim, ending: Ending) -> Any:
        """Store the end of an attempt; while the database is away its lease runs."""
        deadline = time.monotonic() + self._lease_s
        while True:
            try:
                return attempts.end(self._database, claim, ending)
            except _AWAY:
                if time.monotonic() > deadline:
                    raise
                time.sleep(LOOK_S)

    def _stop_cancelled(self) -> None:
        with self._guard:
            running = dict(self._running)
        if not running:
            return
        for claim, reason in attempts.to_stop(self._database, running).items():
            execution = running[claim]
            if execution is not None:
                logger.info(
                    "stops coding task %s: %s",
                    claim.task_id,
                    reason,
                    extra={"action": "coding_stopped", "coding_task": claim.task_id},
                )
                execution.stop()

    def _renew(self) -> None:
        workers.see(self._database, self.worker, is_draining=self._is_draining)
        with self._guard:
            claims = list(self._running)
        if claims:
            attempts.renew(self._database, claims, self._lease_s)

    def _announce(self) -> None:
        if not self._is_draining:
            is_idle = len(self._running) < self.worker.concurrency
            for number in announcements.due(self._database, is_idle=is_idle):
                self._announce_one(number)

    def _tidy_often(self) -> None:
        """Remove what dead workers left on this machine; it may take long."""
        is_over = False
        while not is_over:
            try:
                self._executor.tidy(functools.partial(attempts.is_over, self._database))
            except (OSError, *_AWAY) as exc:
                logger.warning(
                    "cannot remove what earlier workers left, tries again: %s",
                    exc,
                    extra={"action": "coding_tidy_failed"},
                )
            is_over = self._is_over.wait(TIDY_EVERY_S)

    def _sweep(self) -> None:
        """Hand attempts that nobody looks after to their tasks' retry rule."""
        for task_id, state in attempts.end_lapsed(self._database):
            logger.warning(
                "nobody looks after coding task %s any more: it is %s",
                task_id,
                state,
                extra={"action": "coding_lost", "coding_task": task_id},
            )


class _Consumer(Consumer):  # type: ignore[misc]
    """Huey's consumer in a process whose signals the worker handles."""

    def _set_signal_handlers(self) -> None:
        return
