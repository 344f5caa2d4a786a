"""The quarantine of a run at which the agent itself fails again and again.

Without this, one job that the agent cannot cope with would be tried for ever, by an agent that is
restarted for ever, and nothing behind it would run.
"""

from __future__ import annotations

import logging
import sqlite3
from typing import Final

from keruta_agent.agent.journey import execute
from keruta_agent.agent.journey.agent import Agent
from keruta_agent.agent.journey.context import RunContext
from keruta_agent.agent.run import processes

logger = logging.getLogger(__name__)

#: Failures of the agent at one run after which the run is quarantined.
MOST_FAILURES: Final = 3


class QuarantinedError(Exception):
    """The agent failed at this run too often."""


def refuse_if_failing(ctx: RunContext) -> None:
    """End the run's processes if the agent failed at it too often.

    Raises:
        QuarantinedError: it did.
    """
    job, run = ctx.job, ctx.run
    if run.agent_failures < MOST_FAILURES:
        return
    # A shim that was started a moment ago must not come to it later.
    ctx.directory.prevent_start()
    shim = execute.shim_of(ctx)
    if shim is not None:
        processes.kill_tree(shim, run.uid)
    reasons = [
        str(event.detail["reason"])
        for event in ctx.records.journal.of_job(job.id)
        if event.action == "agent_failed"
    ]
    reason = f"The agent itself failed at it {run.agent_failures} times: {reasons[-1]}"
    ctx.records.journal.add("parked", job.id, run.number, reason=reason)
    raise QuarantinedError(reason)


def count_failure(agent: Agent, exc: Exception) -> bool:
    """Count a failure of the agent at the active run; return whether that could be stored."""
    try:
        with agent.records.database.transaction():
            active = agent.records.runs.active()
            if active is not None:
                agent.records.runs.agent_failed(*active, f"{type(exc).__name__}: {exc}")
                agent.records.runs.enter(active[1].id, None)
    except sqlite3.OperationalError as failure:  # whoever tries the run again must not end by it
        logger.warning(
            "cannot count a failure of the agent: %s", failure, extra={"action": "no_room"}
        )
        return False
    return True


def forget_stage(agent: Agent) -> None:
    """Let an end in the middle of a stage count for nothing: the run is not to blame for it.

    Raises:
        sqlite3.OperationalError: the disk is still full.
    """
    active = agent.records.runs.active()
    if active is not None:
        agent.records.runs.enter(active[1].id, None)
