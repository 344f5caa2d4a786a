"""Starts a run's script, or finds that an earlier daemon has started it already.

A script must never be started twice. The file ``identity`` in the run directory decides: the
shim creates it before it starts the script, a daemon creates it to forbid the start, and only one
of them can be first, whatever was killed in between.
"""

from __future__ import annotations

import dataclasses
import logging

from keruta_agent.journey.agent import Agent
from keruta_agent.records.jobs import Job
from keruta_agent.records.run import Run
from keruta_agent.runs.directory import ProcessId
from keruta_agent.runs.launch import LaunchPlan

logger = logging.getLogger(__name__)


class VanishedError(Exception):
    """A script was started, and its run directory has been removed since."""


def adopt(agent: Agent, run: Run) -> ProcessId | None:
    """Returns the shim of a run that was started before; None when it was not and never will be.

    Raises:
        VanishedError: it was, but there is nothing left to follow.
    """
    directory = agent.directory_of(run)
    if run.shim_pid is not None and directory.read_identity() is None:
        raise VanishedError
    if directory.prevent_start():
        return None
    shim = directory.read_identity()
    if shim is None:  # an earlier daemon forbade the start and was killed before it went on
        return None
    logger.info(
        "goes on following run %s, whose script was started before",
        run.uid,
        extra={"action": "run_adopted", "run": run.uid, "job": run.job_id, "pid": shim.pid},
    )
    return shim


def note_start(agent: Agent, run: Run) -> Run:
    """Notes that a script was started by an agent that did not come to note it itself.

    Its end in between is no failure at preparing the run, and the script may have ended well.
    """
    if run.shim_pid is None and agent.directory_of(run).read_identity() is not None:
        agent.runs.enter(run.id, None)
        run = agent.runs.get(run.id)
    return run


def is_running(agent: Agent, run: Run) -> bool:
    """Tells whether the script of a run that was left is still looked after."""
    shim = agent.directory_of(run).read_identity()
    return shim is not None and shim.is_alive()


def renew(agent: Agent, run: Run) -> Run:
    """Makes sure that the run has a directory in which a start is not forbidden.

    What was read of the old one already goes with it: hooks may have written there.
    """
    old = agent.directory_of(run)
    if not old.path.exists():
        return run
    name = agent.runs.fresh_directory(run)
    new = agent.directory_of(dataclasses.replace(run, directory=name))
    offsets = agent.runs.offsets(run.id)
    if any(offsets.values()):
        new.create()
        for stream, size in offsets.items():
            (new.path / stream).write_bytes(old.head(stream, size))
    return agent.runs.renew_directory(run.id, name)


def start(agent: Agent, job: Job, run: Run, plan: LaunchPlan) -> ProcessId:
    """Starts the script.

    Raises:
        RunError: the script's process could not be made.
    """
    shim = agent.launcher.start(plan)
    logger.info(
        "job %d started: %s",
        job.id,
        job.name,
        extra={"action": "run_started", "job": job.id, "task": job.task_id, "run": run.uid},
    )
    return shim
