"""The dispatcher: three Huey queues in one process, each with one worker.

**work** runs jobs, one at a time. **control** polls the API, flushes the outbox and keeps house,
so that a script of two hours delays none of that. **uploads** sends the outbox's files, so that
one of a gigabyte does not either. A message in the work queue says "a job is runnable"; which job
runs is decided by the claim, in the order of the records.
"""

from __future__ import annotations

import logging
import math
import sqlite3
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final

from huey.api import Task
from huey.signals import SIGNAL_ERROR

from keruta_agent import errors
from keruta_agent.journey import quarantine, recover, run
from keruta_agent.journey.agent import Agent
from keruta_agent.journey.poll import SessionPoll
from keruta_agent.queueing.consumer import SAFETY_POLL_S, QuietConsumer
from keruta_agent.queueing.queues import CONTROL, UPLOADS, WORK, open_queue
from keruta_agent.records.outbox import Lane
from keruta_agent.records.run import RunResult

logger = logging.getLogger(__name__)

#: Seconds for which outbox rows gather before they leave together.
GATHER_S: Final = 0.2
#: What reports gives way to the script that it reports on: a third of its share of a busy core.
REPORTING_NICENESS: Final = 5
#: Seconds of one flush, after which the poll gets its turn.
FLUSH_BUDGET_S: Final = 1.0
#: The task that flushes a lane.
FLUSHES: Final = {Lane.WORDS: "flush", Lane.FILES: "upload"}
#: Seconds between two rounds of house-keeping.
HOUSEKEEPING_S: Final = 600.0
#: Seconds before a job is taken up again after the agent itself failed at it.
AGENT_FAILURE_WAIT_S: Final = 2.0


class Dispatcher:
    """Implements ``ports.WorkQueue`` on Huey."""

    def __init__(self, base_dir: Path, poll_interval_s: float) -> None:
        """Opens the queues empty: what is to be done is told by ``start``.

        Raises:
            AgentStateError: the queue's file cannot be used.
        """
        _quiet_huey()
        self._work = open_queue(base_dir, WORK)
        self._control = open_queue(base_dir, CONTROL)
        self._uploads = open_queue(base_dir, UPLOADS)
        self._flush_at: dict[Lane, float] = {}
        self._guard = threading.Lock()
        self._queued: set[str] = set()
        self._work_consumer = QuietConsumer(self._work)
        self._control_consumer = QuietConsumer(
            self._control,
            patience=self._patience,
            every_s=poll_interval_s,
            request_periodic=self._request_periodic,
            niceness=REPORTING_NICENESS,
        )
        self._upload_consumer = QuietConsumer(
            self._uploads,
            patience=lambda: self._seconds_to_flush(Lane.FILES),
            niceness=REPORTING_NICENESS,
        )
        self._consumers = (self._work_consumer, self._control_consumer, self._upload_consumer)
        self._flushers = {Lane.WORDS: self._control_consumer, Lane.FILES: self._upload_consumer}
        self._agent: Agent | None = None
        self._tasks: dict[str, Any] = {}
        self._housekeeping_at = time.monotonic()

    def start(self, agent: Agent, poll: SessionPoll | None, job_ids: Iterable[int]) -> None:
        """Starts both workers; these jobs are runnable from the beginning."""
        self._agent = agent
        agent.room.hold_reserve()
        self._define_tasks(agent, poll)
        _prepare_next(agent)
        for job_id in job_ids:
            self._tasks["run_job"](job_id)
        self.outbox_filled()
        for consumer in self._consumers:
            consumer.start()

    # What the journey and the daemon's doors ask for.

    def job_runnable(self, job_id: int) -> None:
        """Says that a job waits to be run."""
        self._tasks["run_job"](job_id)
        self._work_consumer.knock.set()

    def job_failed(self, job_id: int) -> None:
        """Announce to Huey's failure signal that a run of a job failed."""
        self._work.announce_failure(job_id)

    def outbox_filled(self) -> None:
        """Says that the outbox holds something; it leaves after a moment, with what follows."""
        self._flush_in(Lane.WORDS, GATHER_S)

    def poll_now(self) -> None:
        """Asks for a poll before the next regular one."""
        self._request("poll")

    # What the supervisor asks for.

    def stop_taking_jobs(self) -> None:
        """Lets the running job be the last one."""
        self._work_consumer.stop_taking()

    def wait_for_job(self, timeout_s: float | None) -> bool:
        """Waits for the running job, in seconds; tells whether none is left."""
        return self._work_consumer.join(timeout_s)

    def stop(self, timeout_s: float) -> None:
        """Stops the workers and closes the queues."""
        for consumer in self._consumers:
            consumer.stop_taking()
        for consumer in self._consumers:
            consumer.join(timeout_s)
        for queue in (self._work, self._control, self._uploads):
            queue.storage.close()

    def hindrance(self) -> str | None:
        """Returns what keeps the workers from working, None when they do."""
        if self._work_consumer.stop_flag.is_set():
            return "the daemon is stopping and takes no more jobs"
        if not all(consumer.is_working() for consumer in self._consumers):
            return "a worker has died and is to be started again"
        return None

    def check_workers(self) -> None:
        """Starts a worker again that died."""
        for consumer in self._consumers:
            if not consumer.stop_flag.is_set():
                consumer.check_worker_health()

    # The tasks. Their names stand in messages and stay what they are for ever.

    def _define_tasks(self, agent: Agent, poll: SessionPoll | None) -> None:
        def run_job(job_id: int) -> None:
            self._run_job(agent, job_id)

        def poll_session() -> None:
            if poll is not None:
                poll.poll()

        def flush_outbox() -> None:
            self._flush(agent, Lane.WORDS)

        def upload_files() -> None:
            self._flush(agent, Lane.FILES)

        def done(name: str, work: Callable[[], None]) -> Callable[[], None]:
            return self._done(agent, name, work)

        def wake_scheduled() -> None:
            self._wake_scheduled(agent)

        def keep_house() -> None:
            recover.remove_old_runs(agent)

        def tell_of_failure(signal: str, task: Task, exc: BaseException | None = None) -> None:
            self.outbox_filled()  # which wakes the worker that waits for the retry, too

        define: Callable[..., Any] = self._control.task
        self._tasks = {
            "run_job": self._work.task(name="run_job")(run_job),
            "poll": self._control.periodic_task(_always, name="poll")(done("poll", poll_session)),
            "flush": define(name="flush")(done("flush", flush_outbox)),
            "upload": self._uploads.task(name="upload")(done("upload", upload_files)),
            "wake_scheduled": define(name="wake_scheduled")(done("wake_scheduled", wake_scheduled)),
            "housekeeping": define(name="housekeeping")(done("housekeeping", keep_house)),
        }
        self._work.signal(SIGNAL_ERROR)(tell_of_failure)

    def _run_job(self, agent: Agent, job_id: int) -> None:
        result = self._run_next(agent, job_id)
        self.outbox_filled()
        if result is not None and not self._work_consumer.stop_flag.is_set():
            _prepare_next(agent)

    def _run_next(self, agent: Agent, job_id: int) -> RunResult | None:
        """Run the next job; what the agent fails at is tried again here.

        No message is left for it: on a full disk the queue takes none, and the run would be lost.
        """
        wants_room = False
        while True:
            try:
                if wants_room:
                    quarantine.forget_stage(agent)
                    wants_room = False
                result = run.run_next(agent)
                agent.room.was_found()
                return result
            except Exception as exc:  # the worker's edge: a job whose run stays active must go on
                if agent.room.is_wanting(exc):
                    wants_room = True
                else:
                    logger.exception(
                        "the agent failed at job %d and takes it up again: %s",
                        job_id,
                        exc,
                        extra={"action": "agent_failed", "job": job_id},
                    )
                    wants_room = not quarantine.count_failure(agent, exc)
            if self._work_consumer.stop_flag.wait(AGENT_FAILURE_WAIT_S):
                return None

    def _wake_scheduled(self, agent: Agent) -> None:
        for job_id in agent.records.jobs.wake_due():
            self.job_runnable(job_id)

    def _flush(self, agent: Agent, lane: Lane) -> None:
        with self._guard:
            self._flush_at.pop(lane, None)
        if agent.courier is None:
            return
        budget_ends = time.monotonic() + FLUSH_BUDGET_S
        try:
            due_in_s = agent.courier.deliver(FLUSH_BUDGET_S, lane)
        except sqlite3.Error:  # the disk may be full; what waits is still there
            self._flush_in(lane, SAFETY_POLL_S)
            raise
        if due_in_s is not None:
            had_time = time.monotonic() < budget_ends
            # What is due all the same has just come, or another thread is at it.
            self._flush_in(lane, max(due_in_s, GATHER_S if had_time else 0.0))
        other = Lane.WORDS if lane is Lane.FILES else Lane.FILES
        due_in_s = agent.courier.due_in_s(other)
        if due_in_s is not None:  # it may have waited for what has left now
            self._flush_in(other, due_in_s)

    def _flush_in(self, lane: Lane, seconds: float) -> None:
        due = time.monotonic() + seconds
        with self._guard:
            if due < self._flush_at.get(lane, math.inf):
                self._flush_at[lane] = due
                self._flushers[lane].knock.set()

    def _patience(self) -> float:
        """Returns how long the control worker may sleep, after it asked for what is due."""
        retry_in_s = None if self._agent is None else self._agent.records.jobs.seconds_to_next()
        if retry_in_s is None or (retry_in_s <= 0 and not self._request("wake_scheduled")):
            retry_in_s = SAFETY_POLL_S
        return min(self._seconds_to_flush(Lane.WORDS), retry_in_s)

    def _seconds_to_flush(self, lane: Lane) -> float:
        """Returns how long the worker of a lane may sleep, after it asked for what is due."""
        with self._guard:
            flush_at = self._flush_at.get(lane)
        if flush_at is None:
            return SAFETY_POLL_S
        wait = flush_at - time.monotonic()
        if wait > 0:
            return min(wait, SAFETY_POLL_S)
        return 0.0 if self._request(FLUSHES[lane]) else SAFETY_POLL_S

    def _request_periodic(self) -> None:
        self._request("poll")
        wants_room = self._agent is not None and self._agent.room.lacks_reserve
        if wants_room or time.monotonic() >= self._housekeeping_at:
            self._housekeeping_at = time.monotonic() + HOUSEKEEPING_S
            self._request("housekeeping")

    def _request(self, name: str) -> bool:
        """Queues a task that is no job, unless it is: a slow API piles nothing up.

        Returns whether it is queued: who waits for it must not ask again at once if not.
        """
        with self._guard:
            if name in self._queued:
                return True
            self._queued.add(name)
        try:
            self._tasks[name]()
        except sqlite3.Error as exc:  # the disk is full, or the file is gone: asked again later
            with self._guard:
                self._queued.discard(name)
            if self._agent is None or not self._agent.room.is_wanting(exc):
                logger.warning(
                    "cannot queue the task %s now: %s", name, exc, extra={"action": "queue_failed"}
                )
            return False
        (self._upload_consumer if name == "upload" else self._control_consumer).knock.set()
        return True

    def _done(self, agent: Agent, name: str, work: Callable[[], None]) -> Callable[[], None]:
        """Wraps a task that is no job, so that it may be queued again once it has begun."""

        def begin() -> None:
            with self._guard:
                self._queued.discard(name)
            try:
                work()
            except Exception as exc:  # it may be due again at once, and must not spin
                self._control_consumer.stop_flag.wait(AGENT_FAILURE_WAIT_S)
                if not agent.room.is_wanting(exc):
                    raise
            # While polls take longer than their interval the worker never comes to sleep, and
            # would never ask by itself.
            self._seconds_to_flush(Lane.WORDS)

        return begin


def _prepare_next(agent: Agent) -> None:
    """Gets the process ready that will start the next script; without it the start is slower."""
    try:
        agent.launcher.prepare()
    except errors.RunError as exc:
        logger.warning(
            "cannot start a process ahead of its time: %s", exc, extra={"action": "no_spare"}
        )


def _always(_now: Any) -> bool:
    return True


def _quiet_huey() -> None:
    """Keep Huey's start-up chatter out of the agent's log."""
    logging.getLogger("huey").setLevel(logging.WARNING)
