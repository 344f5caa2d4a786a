"""Huey's consumer, made to wake at once, to poll every few seconds, and to leave signals alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final

from huey import SqliteHuey
from huey.consumer import Consumer, Scheduler, Worker

from keruta_agent.agent.queue.due_thread import give_way

#: Seconds after which a waiting worker looks into its queue although nobody woke it.
SAFETY_POLL_S: Final = 5.0


class WakeableWorker(Worker):  # type: ignore[misc]
    """A worker that sleeps until it is woken; Huey's own polls ever more slowly, up to 10 s."""

    wake_event: threading.Event
    niceness: int

    def initialize(self) -> None:
        give_way(self.niceness)
        super().initialize()

    def sleep(self) -> None:
        if not self.stop_flag.is_set():
            self.wake_event.wait(SAFETY_POLL_S)
        self.wake_event.clear()


class PollScheduler(Scheduler):  # type: ignore[misc]
    """A scheduler of periodic tasks every few seconds; Huey's own runs them once a minute."""

    seconds: float
    request_periodic: Callable[[], None]

    def loop(self, now: Any = None) -> None:
        self.request_periodic()
        self.stop_flag.wait(self.seconds)


class QuietConsumer(Consumer):  # type: ignore[misc]
    """A consumer with one worker, in a process whose signals and main loop the agent handles."""

    def __init__(
        self,
        huey: SqliteHuey,
        *,
        every_s: float = 3600.0,
        request_periodic: Callable[[], None] = lambda: None,
        niceness: int = 0,
    ) -> None:
        """Create the consumer.

        Args:
            huey: the queue.
            every_s: interval of the periodic tasks, in seconds.
            request_periodic: is called once an interval.
            niceness: of the worker's thread; higher ones give way to others.
        """
        self.wake_event = threading.Event()
        self._every_s = every_s
        self._request_periodic = request_periodic
        self._niceness = niceness
        super().__init__(huey, workers=1)

    def _create_worker(self) -> Any:
        worker = WakeableWorker(
            huey=self.huey,
            stop_flag=self.stop_flag,
            default_delay=self.default_delay,
            max_delay=self.max_delay,
            backoff=self.backoff,
        )
        worker.wake_event = self.wake_event
        worker.niceness = self._niceness
        return worker

    def _create_scheduler(self) -> Any:
        scheduler = PollScheduler(
            huey=self.huey, stop_flag=self.stop_flag, interval=1, periodic=self.periodic
        )
        scheduler.seconds = self._every_s
        scheduler.request_periodic = self._request_periodic
        return scheduler

    def _set_signal_handlers(self) -> None:
        return

    def stop_taking(self) -> None:
        """Stop taking messages; the current one is finished."""
        self.stop_flag.set()
        self.wake_event.set()

    def join(self, timeout_s: float | None) -> bool:
        """Wait until the worker has ended, in seconds; return whether it has."""
        deadline = None if timeout_s is None else time.monotonic() + timeout_s
        for _, thread in self.worker_threads:
            if thread.ident is None:  # it was never started
                continue
            thread.join(None if deadline is None else max(0.0, deadline - time.monotonic()))
            if thread.is_alive():
                return False
        return True

    def is_working(self) -> bool:
        """Return whether the worker lives and takes messages."""
        return not self.stop_flag.is_set() and all(
            thread.is_alive() for _, thread in self.worker_threads
        )
