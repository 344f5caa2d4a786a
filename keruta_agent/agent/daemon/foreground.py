"""One job run in this process, under the same lock and by the same rules as in the daemon."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import sqlite3
import threading
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

from keruta_agent.agent.control.control import Control
from keruta_agent.agent.control.socket.socket_server import AgentSocket
from keruta_agent.agent.daemon.answers import answer_poll
from keruta_agent.agent.daemon.lock import agent_lock
from keruta_agent.agent.daemon.wiring import build_agent, configured_api
from keruta_agent.agent.delivery.outbox_sender import OutboxSender
from keruta_agent.agent.journey import run
from keruta_agent.agent.journey.agent import Agent
from keruta_agent.agent.journey.context import RunContext
from keruta_agent.agent.queue.due_thread import DueThread
from keruta_agent.agent.store.jobs import JobState
from keruta_agent.core import errors
from keruta_agent.core.settings.schema import Settings, shown

logger = logging.getLogger(__name__)

#: Seconds that the end spends on the delivery of what is left in the outbox.
DRAIN_S: Final = 10.0
#: Seconds of one delivery, and for which rows gather before the next.
DELIVERY_BUDGET_S: Final = 1.0
GATHER_S: Final = 0.2
#: Seconds between looks whether the time of a retry has come.
RETRY_LOOK_S: Final = 0.1


class ForegroundQueue:
    """The dispatcher of an agent that runs just one job: it only delivers the outbox."""

    def __init__(self) -> None:
        self._thread = DueThread("outbox-sender")

    def jobs_runnable(self) -> None:
        """Leave other jobs to the next daemon."""

    def job_failed(self, job_id: int) -> None:
        """Deliver soon what reports the failure."""
        self.outbox_filled()

    def outbox_filled(self) -> None:
        """Deliver the outbox soon."""
        self._thread.due_in(GATHER_S)

    def poll_now(self) -> None:
        """There is no session to poll."""

    def start(self, outbox_sender: OutboxSender) -> None:
        """Begin to deliver."""

        def deliver() -> float:
            due_in_s = outbox_sender.deliver(DELIVERY_BUDGET_S)
            return math.inf if due_in_s is None else max(due_in_s, GATHER_S)

        self._thread.start(deliver)

    def stop(self) -> None:
        """Stop the delivery; what is left waits in the outbox."""
        self._thread.stop()
        self._thread.join(None)


@contextlib.contextmanager
def agent_here(settings: Settings) -> Iterator[Agent]:
    """Make this process the agent of the base directory, for one job.

    Raises:
        AlreadyRunning: there is one.
        AgentStateError: the base directory cannot be used.
    """
    with agent_lock(settings.base_dir):
        queue = ForegroundQueue()
        agent = build_agent(settings, queue, configured_api(settings))
        if agent.outbox_sender is not None:
            queue.start(agent.outbox_sender)
        control_socket = AgentSocket(
            Control.of_agent(agent, lambda: _describe(agent), takes_jobs=False)
        )
        control_socket.start()
        answers = answer_poll(agent)
        if answers is not None:
            answers.start()
        try:
            yield agent
        finally:
            if answers is not None:
                answers.stop()
            control_socket.stop()
            queue.stop()
            agent.records.database.close()


def start_job(agent: Agent, job_id: int) -> threading.Thread:
    """Run a job in a thread; a run that an earlier agent left is brought to its end first."""
    thread = threading.Thread(target=_run_job, args=(agent, job_id), name="job", daemon=True)
    thread.start()
    return thread


def _run_job(agent: Agent, job_id: int) -> None:
    try:
        _bring_to_its_end(agent, job_id)
    except (sqlite3.Error, OSError, ValueError, LookupError, errors.KerutaError) as exc:
        # The client that follows the job sees that this thread has ended without the job.
        logger.error(
            "the agent failed at job %d: %s: %s",
            job_id,
            type(exc).__name__,
            exc,
            exc_info=logger.isEnabledFor(logging.DEBUG),
            extra={"action": "agent_failed", "job": job_id},
        )


def _bring_to_its_end(agent: Agent, job_id: int) -> None:
    while (left := RunContext.of_active(agent)) is not None:
        run.run_to_end(left)
    while (
        job := agent.records.jobs.get(job_id)
    ) is not None and job.state is not JobState.FINISHED:
        agent.records.jobs.wake_due()
        claimed = agent.records.runs.claim_job(job_id)
        if claimed is None:
            time.sleep(RETRY_LOOK_S)  # it waits for its next try
            continue
        run.run_to_end(RunContext(agent, *claimed))
    if agent.outbox_sender is not None:
        agent.outbox_sender.deliver(DRAIN_S)


def _describe(agent: Agent) -> Mapping[str, Any]:
    active = agent.records.runs.active()
    return {
        "pid": os.getpid(),
        "running": None if active is None else active[0].id,
        "api": shown(agent.settings)["api_url"],
    }
