"""The start of a run's script, unless an earlier daemon has started it already.

A script must never be started twice. The file ``identity`` in the run directory decides: the
shim creates it before it starts the script, a daemon creates it to forbid the start, and only one
of them can be first, whatever was killed in between.
"""

from __future__ import annotations

import dataclasses
import logging
import time
from typing import Final

from keruta_agent.agent.journey.context import RunContext
from keruta_agent.agent.run.directory import ProcessId
from keruta_agent.agent.run.launch import Commitment, LaunchPlan
from keruta_agent.core.process_tree.children import LOOK_S, OWN

logger = logging.getLogger(__name__)

#: Seconds in which a shim that must not start its script has ended.
REFUSAL_S: Final = 2.0


class VanishedError(Exception):
    """A script was started, and its run directory has been removed since."""


def adopt(ctx: RunContext) -> ProcessId | None:
    """Return the shim of a run that was started before; None when it was not and never will be.

    Raises:
        VanishedError: it was, but there is nothing left to follow.
    """
    directory, run = ctx.directory, ctx.run
    shim = shim_of(ctx)
    if run.shim_pid is not None and (shim is None or not directory.path.is_dir()):
        raise VanishedError
    if run.shim_pid is None and directory.prevent_start():
        return None
    if shim is None or not _has_started(ctx, shim):
        return None
    with OWN.starting():
        OWN.started(shim.pid)  # an earlier image of this process may have
    logger.info(
        "goes on following run %s, whose script was started before",
        run.uid,
        extra={"action": "run_adopted", "run": run.uid, "job": run.job_id, "pid": shim.pid},
    )
    return shim


def _has_started(ctx: RunContext, shim: ProcessId) -> bool:
    """Return whether a shim came to its script, or an earlier daemon has forbidden it to."""
    directory = ctx.directory
    if ctx.run.shim_pid is not None or not directory.was_prevented():
        return True
    # The script itself may have written that. A shim that was refused does not live on, and
    # leaves no record.
    deadline = time.monotonic() + REFUSAL_S
    while shim.is_alive():
        if time.monotonic() > deadline:
            return True
        time.sleep(LOOK_S)
    record = directory.read_exit()
    return record is not None and record.is_proved(ctx.run.exit_digest)


def shim_of(ctx: RunContext) -> ProcessId | None:
    """Return the process that looks after a run's script, None when nothing is known of it.

    The script can write in the run directory, so that is asked only where the records do not know:
    of a run of an older agent.
    """
    if ctx.run.shim is not None:
        return ProcessId.parse(ctx.run.shim)
    return ctx.directory.read_identity()


def take_up(ctx: RunContext) -> None:
    """Go on with a run that an earlier agent left.

    Where that agent did not come to note that the script was started, its end in between is no
    failure at preparing the run, and the script may have ended well.
    """
    if ctx.run.shim_pid is None and ctx.directory.read_identity() is not None:
        ctx.records.runs.enter(ctx.run.id, None)
        ctx.refresh()
    ctx.run = ctx.records.runs.take_up(ctx.job, ctx.run)


def is_running(ctx: RunContext) -> bool:
    """Return whether the script of a run that was left is still looked after."""
    shim = shim_of(ctx)
    return shim is not None and shim.is_alive()


def renew_directory(ctx: RunContext) -> None:
    """Make sure that the run has a directory in which a start is not forbidden.

    What was read of the old one already goes with it: hooks may have written there.
    """
    run, old = ctx.run, ctx.directory
    if not old.path.exists():
        return
    name = ctx.records.runs.fresh_directory(run)
    new = ctx.agent.directory_of(dataclasses.replace(run, directory=name))
    offsets = ctx.records.runs.offsets(run.id)
    if any(offsets.values()):
        new.create()
        for stream, size in offsets.items():
            (new.path / stream).write_bytes(old.head(stream, size))
    ctx.run = ctx.records.runs.renew_directory(run.id, name)


def start(ctx: RunContext, plan: LaunchPlan) -> ProcessId:
    """Start the script.

    Raises:
        RunError: the script's process could not be made.
    """

    def store(commitment: Commitment) -> None:
        ctx.records.runs.commit(
            ctx.run.id,
            shim=commitment.shim.line,
            exit_digest=commitment.digest,
            launched_at=commitment.launched_at,
        )

    shim = ctx.agent.launcher.start(plan, store)
    job = ctx.job
    logger.info(
        "job %d started: %s",
        job.id,
        job.name,
        extra={"action": "run_started", "job": job.id, "task": job.task_id, "run": ctx.run.uid},
    )
    return shim
