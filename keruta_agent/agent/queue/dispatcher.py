"""The dispatcher: Huey's queues of jobs and of polls, and a thread for each thing beside them.

The **work** queue runs jobs, one at a time. A message in it says "jobs may wait", and one is enough
for all of them: which job runs is decided by the claim, in the order of the records. The **polls**
queue has a worker of its own, so that a script of two hours delays no poll. The outbox, its files,
jobs to be tried again and housekeeping have threads: the records say what is due, and no message
has to.
"""

from __future__ import annotations

import functools
import logging
import math
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

from huey.api import Task
from huey.signals import SIGNAL_ERROR

from keruta_agent.agent.journey import quarantine, recover, run
from keruta_agent.agent.journey.agent import Agent
from keruta_agent.agent.journey.prune import Pruning
from keruta_agent.agent.journey.session.poll import SessionPoll
from keruta_agent.agent.queue.consumer import SAFETY_POLL_S, QuietConsumer
from keruta_agent.agent.queue.due_thread import DueThread
from keruta_agent.agent.queue.queues import POLLS, WORK, TolerantHuey, open_queue
from keruta_agent.agent.store.outbox import Lane
from keruta_agent.core import errors

logger = logging.getLogger(__name__)

#: Seconds for which outbox rows gather before they leave together.
GATHER_S: Final = 0.2
#: What reports gives way to the script that it reports on: a third of its share of a busy core.
REPORTING_NICENESS: Final = 5
#: Seconds of one flush, after which the thread looks whether it is to stop.
FLUSH_BUDGET_S: Final = 1.0
#: Times of a poll's own processor time for which the next one waits: the list of a session may be
#: long, and each of its tasks that ends asks for another poll.
POLL_REST: Final = 3.0
LONGEST_POLL_REST_S: Final = 10.0
#: Seconds between two rounds of housekeeping.
HOUSEKEEPING_S: Final = 600.0
#: Seconds between two batches of jobs that are pruned: others write meanwhile.
PRUNE_PAUSE_S: Final = 0.05
#: Seconds before something is taken up again after the agent itself failed at it.
AGENT_FAILURE_WAIT_S: Final = 2.0


class Dispatcher:
    """The implementation of ``ports.WorkQueue`` on Huey."""

    def __init__(self, base_dir: Path, poll_interval_s: float) -> None:
        """Open the queues empty: ``start`` fills them.

        Raises:
            AgentStateError: the queue's file cannot be used.
        """
        _quiet_huey()
        self._work = open_queue(base_dir, WORK)
        self._polls = open_queue(base_dir, POLLS)
        self._work_consumer = QuietConsumer(self._work)
        self._poll_consumer = QuietConsumer(
            self._polls,
            every_s=poll_interval_s,
            request_periodic=self.poll_now,
            niceness=REPORTING_NICENESS,
        )
        self._consumers = (self._work_consumer, self._poll_consumer)
        self._senders = {
            Lane.REPORTS: DueThread("reports", niceness=REPORTING_NICENESS),
            Lane.FILES: DueThread("uploads", niceness=REPORTING_NICENESS),
        }
        self._retries = DueThread("retries")
        self._housekeeping = DueThread("housekeeping", niceness=REPORTING_NICENESS)
        self._threads = (*self._senders.values(), self._retries, self._housekeeping)
        self._parts: tuple[QuietConsumer | DueThread, ...] = (*self._consumers, *self._threads)
        self._poll_interval_s = poll_interval_s
        self._housekeeping_at = time.monotonic()
        #: Whether there may be ended jobs that are not kept any longer.
        self._may_prune = True
        self._pruning = Pruning()
        #: Whether a message could not be queued; the thread of retries makes up for it.
        self._is_unannounced = False
        self._agent: Agent | None = None
        self._tasks: dict[str, Any] = {}

    def start(self, agent: Agent, poll: SessionPoll | None) -> None:
        """Start the workers and threads; what the records hold is runnable from the beginning."""
        self._agent = agent
        agent.disk.hold_reserve()
        self._define_tasks(agent, poll)
        _prepare_next(agent)
        self.jobs_runnable()
        for thread, work in self._work_of_threads(agent):
            thread.due_in(0.0)
            thread.start(work)
        for consumer in self._consumers:
            consumer.start()

    # What the journey and the commands ask for.

    def jobs_runnable(self) -> None:
        """Announce that jobs may wait to be run; a message that waits already is enough."""
        self._is_unannounced = not self._queue_once(self._work, "run_job")
        self._work_consumer.wake_event.set()

    def job_failed(self, job_id: int) -> None:
        """Announce to Huey's failure signal that a run of a job failed."""
        self._work.announce_failure(job_id)

    def outbox_filled(self) -> None:
        """Announce that the outbox holds something; it leaves after a moment, with what follows."""
        self._senders[Lane.REPORTS].due_in(GATHER_S)
        self._retries.due_in(GATHER_S)  # what happened may have had a job scheduled

    def poll_now(self) -> None:
        """Ask for a poll before the next regular one; one that waits already is enough."""
        if self._queue_once(self._polls, "poll"):
            self._poll_consumer.wake_event.set()

    def _queue_once(self, queue: TolerantHuey, name: str) -> bool:
        """Queue a message unless one waits already; return whether one does now."""
        try:
            if not queue.pending_count():
                self._tasks[name]()
        except sqlite3.Error as exc:  # the disk is full, or the file is gone: asked again later
            if self._agent is None or not self._agent.disk.is_unwritable(exc):
                logger.warning(
                    "cannot queue a message (%s) now: %s",
                    name,
                    exc,
                    extra={"action": "queue_failed"},
                )
            return False
        return True

    # What the supervisor asks for.

    def stop_taking_jobs(self) -> None:
        """Stop taking jobs; the running one finishes (drain)."""
        self._work_consumer.stop_taking()

    def wait_for_job(self, timeout_s: float | None) -> bool:
        """Wait for the running job, in seconds; return whether none is left."""
        return self._work_consumer.join(timeout_s)

    def stop(self, timeout_s: float) -> None:
        """Stop the workers and threads, and close the queues."""
        for consumer in self._consumers:
            consumer.stop_taking()
        for thread in self._threads:
            thread.stop()
        for part in self._parts:
            part.join(timeout_s)
        for queue in (self._work, self._polls):
            queue.storage.close()

    def hindrance(self) -> str | None:
        """Return what keeps the workers from working, None when they do."""
        if self._work_consumer.stop_flag.is_set():
            return "the daemon is stopping and takes no more jobs"
        if not all(part.is_working() for part in self._parts):
            return "a worker has died and is to be started again"
        return None

    def check_workers(self) -> None:
        """Start a worker or thread again that died."""
        for thread in self._threads:
            thread.revive()
        for consumer in self._consumers:
            if not consumer.stop_flag.is_set():
                self._is_unannounced |= not consumer.is_working()  # it took its message with it
                consumer.check_worker_health()

    # The tasks. Their names stand in messages and stay what they are for ever.

    def _define_tasks(self, agent: Agent, poll: SessionPoll | None) -> None:
        def run_job() -> None:
            self._run_jobs(agent)

        def poll_session() -> None:
            self._poll(agent, poll)

        def on_failure(signal: str, task: Task, exc: BaseException | None = None) -> None:
            self.outbox_filled()  # which wakes the thread that waits for the retry, too

        self._tasks = {
            "run_job": self._work.task(name="run_job")(run_job),
            "poll": self._polls.periodic_task(_always, name="poll")(poll_session),
        }
        self._work.instead = self._tasks["run_job"].s
        self._polls.instead = self._tasks["poll"].s
        self._work.signal(SIGNAL_ERROR)(on_failure)

    def _run_jobs(self, agent: Agent) -> None:
        """Run jobs until none may run; of what comes meanwhile another message says so."""
        has_next = True
        while has_next:
            has_next = self._run_next(agent)
            self.outbox_filled()
            if self._work_consumer.stop_flag.is_set():
                return
            _prepare_next(agent)

    def _run_next(self, agent: Agent) -> bool:
        """Run the next job; return whether to look for another one.

        What the agent fails at is tried again here.
        No message is left for it: on a full disk the queue takes none, and the run would be lost.
        """
        disk_was_full = False
        while True:
            try:
                if disk_was_full:
                    quarantine.forget_stage(agent)
                    disk_was_full = False
                result = run.run_next(agent)
                agent.disk.note_written()
                return result is not None or run.has_next(agent)  # one may have been given back
            except Exception as exc:  # the worker's edge: a job whose run stays active must go on
                if agent.disk.is_unwritable(exc):
                    disk_was_full = True
                else:
                    logger.exception(
                        "the agent failed at a job and takes it up again: %s",
                        exc,
                        extra={"action": "agent_failed"},
                    )
                    disk_was_full = not quarantine.count_failure(agent, exc)
            if self._work_consumer.stop_flag.wait(AGENT_FAILURE_WAIT_S):
                return False

    def _poll(self, agent: Agent, poll: SessionPoll | None) -> None:
        began = time.thread_time()
        try:
            if poll is not None:
                poll.poll()
            used_s = time.thread_time() - began
            self._poll_consumer.stop_flag.wait(min(POLL_REST * used_s, LONGEST_POLL_REST_S))
        except Exception as exc:  # it may be asked for again at once, and must not spin
            self._poll_consumer.stop_flag.wait(AGENT_FAILURE_WAIT_S)
            if not agent.disk.is_unwritable(exc):
                raise

    # The threads. Each does what is due and returns the seconds until more is.

    def _work_of_threads(self, agent: Agent) -> Iterator[tuple[DueThread, Callable[[], float]]]:
        def guarded(thread: DueThread, work: Callable[[], float]) -> Callable[[], float]:
            return lambda: self._guarded(agent, thread, work)

        for lane, thread in self._senders.items():
            yield thread, guarded(thread, functools.partial(self._flush, agent, lane))
        yield self._retries, guarded(self._retries, lambda: self._wake_scheduled(agent))
        yield self._housekeeping, guarded(self._housekeeping, lambda: self._do_housekeeping(agent))

    def _guarded(self, agent: Agent, thread: DueThread, work: Callable[[], float]) -> float:
        try:
            return work()
        except Exception as exc:  # the thread's edge: what waits is still there
            if not agent.disk.is_unwritable(exc):
                logger.exception(
                    "the agent failed at its %s and tries again: %s",
                    thread.name,
                    exc,
                    extra={"action": "queue_failed"},
                )
        thread.pause(AGENT_FAILURE_WAIT_S)  # it may be asked for at once, and must not spin
        return 0.0

    def _flush(self, agent: Agent, lane: Lane) -> float:
        if agent.outbox_sender is None:
            return math.inf
        budget_ends = time.monotonic() + FLUSH_BUDGET_S
        due_in_s = agent.outbox_sender.deliver(FLUSH_BUDGET_S, lane)
        had_time = time.monotonic() < budget_ends
        other = Lane.REPORTS if lane is Lane.FILES else Lane.FILES
        other_due_in_s = agent.outbox_sender.due_in_s(other)
        if other_due_in_s is not None:  # it may have waited for what has left now
            self._senders[other].due_in(other_due_in_s)
        if due_in_s is None:
            return math.inf
        # What is due all the same has just come, or another thread delivers it.
        return max(due_in_s, GATHER_S if had_time else 0.0)

    def _wake_scheduled(self, agent: Agent) -> float:
        jobs = agent.records.jobs
        if jobs.seconds_to_next() == 0.0:  # asked first: it takes no lock
            self._is_unannounced |= bool(jobs.wake_due())
        if self._is_unannounced:
            self.jobs_runnable()
        due_in_s = jobs.seconds_to_next()
        # Not for ever: commands schedule jobs beside the daemon.
        return SAFETY_POLL_S if due_in_s is None else min(due_in_s, SAFETY_POLL_S)

    def _do_housekeeping(self, agent: Agent) -> float:
        if agent.disk.lacks_reserve or time.monotonic() >= self._housekeeping_at:
            self._housekeeping_at = time.monotonic() + HOUSEKEEPING_S
            recover.remove_old_runs(agent)
            self._may_prune = True
        if self._may_prune:
            self._may_prune = self._pruning.go_on(agent)
            if self._may_prune:
                return PRUNE_PAUSE_S
        return min(self._poll_interval_s, HOUSEKEEPING_S)


def _prepare_next(agent: Agent) -> None:
    """Prepare the process that will start the next script; without it the start is slower."""
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
