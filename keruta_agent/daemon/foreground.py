"""Runs one job right here, under the same lock and by the same rules as the daemon would."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import threading
from collections.abc import Iterator, Mapping
from typing import Any, Final

from keruta_agent import errors
from keruta_agent.daemon.lock import agent_lock
from keruta_agent.daemon.wiring import build_agent, configured_api
from keruta_agent.journey import mend, run
from keruta_agent.journey.agent import Agent
from keruta_agent.local.socket_server import AgentSocket
from keruta_agent.settings.schema import Settings

logger = logging.getLogger(__name__)

#: Seconds that the end spends on telling the API what it can be told now.
LAST_WORDS_S: Final = 10.0


class NoQueue:
    """The dispatcher of an agent that runs just one job."""

    def job_runnable(self, job_id: int) -> None:
        """Leaves the job to the next daemon."""

    def outbox_filled(self) -> None:
        """Leaves the outbox to the end of the job."""

    def poll_now(self) -> None:
        """There is no session to poll."""


@contextlib.contextmanager
def agent_here(settings: Settings) -> Iterator[Agent]:
    """Makes this process the agent of the base directory, for one job.

    Raises:
        AlreadyRunning: there is one.
        AgentStateError: the base directory cannot be used.
    """
    with agent_lock(settings.base_dir):
        agent = build_agent(settings, NoQueue(), configured_api(settings))
        door = AgentSocket(agent, lambda: _describe(agent), takes_jobs=False)
        door.start()
        try:
            yield agent
        finally:
            door.stop()
            agent.database.close()


def start_job(agent: Agent, job_id: int) -> threading.Thread:
    """Runs a job in a thread; a run that an earlier agent left is brought to its end first."""
    thread = threading.Thread(target=_run_job, args=(agent, job_id), name="job", daemon=True)
    thread.start()
    return thread


def _run_job(agent: Agent, job_id: int) -> None:
    try:
        _bring_to_its_end(agent, job_id)
    except (sqlite3.Error, OSError, ValueError, LookupError, errors.KerutaError) as exc:
        # Who follows the job sees that this thread has ended without the job.
        logger.error(
            "the agent failed at job %d: %s: %s",
            job_id,
            type(exc).__name__,
            exc,
            exc_info=logger.isEnabledFor(logging.DEBUG),
            extra={"action": "agent_failed", "job": job_id},
        )


def _bring_to_its_end(agent: Agent, job_id: int) -> None:
    while (active := agent.runs.active()) is not None:
        run.live(agent, *active)
    claimed = agent.runs.claim_job(job_id)
    if claimed is not None:
        run.live(agent, *claimed)
    mend.mend_failures(agent)
    if agent.courier is not None:
        agent.courier.deliver(LAST_WORDS_S)


def _describe(agent: Agent) -> Mapping[str, Any]:
    active = agent.runs.active()
    return {"pid": os.getpid(), "running": None if active is None else active[0].id}
