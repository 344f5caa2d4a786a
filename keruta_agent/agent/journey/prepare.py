"""The preparation of a run: what is executed, where, and with which environment."""

from __future__ import annotations

import logging
import re
import shlex
from pathlib import Path
from typing import Final

from keruta_agent.agent.journey import coding, collect, environment, limits, workspace
from keruta_agent.agent.journey.context import RunContext
from keruta_agent.agent.journey.hooks import Hooks
from keruta_agent.agent.journey.observe.monitor import ProgramMonitor
from keruta_agent.agent.run import script_text
from keruta_agent.agent.run.directory import About
from keruta_agent.agent.run.interpreter import interpreter
from keruta_agent.agent.run.launch import LaunchPlan, Stdin
from keruta_agent.agent.run.resources import memory
from keruta_agent.core import errors
from keruta_agent.core.model import Script, Task

logger = logging.getLogger(__name__)

#: What a name may hold when it becomes a directory's name.
_UNSAFE: Final = re.compile(r"[^A-Za-z0-9._-]+")
#: Characters of a session's id that its directory's name keeps.
_LONGEST_NAME: Final = 100


def plan(ctx: RunContext, script: Script) -> LaunchPlan:
    """Fill the run directory and return how the script is to be started.

    Raises:
        RunError: there is nothing to execute, or no place for it.
        JobStoppedError: somebody stopped the job meanwhile.
    """
    settings = ctx.settings
    limits.timeout_s(ctx.job, settings)  # refuses nonsense before anything is started
    limits.input_timeout_s(ctx.job, settings)
    directory = ctx.directory
    directory.create()
    directory.write_about(_about(ctx))
    ctx.agent.redaction.keep(ctx.job, directory)
    is_coding = coding.is_wanted(settings, script)
    command = [] if is_coding else _command(ctx, script)
    place = workspace.prepare(ctx)
    working_directory = _working_directory(ctx) if place is None else place.directory
    artifacts_dir = collect.prepare_directory(ctx, working_directory)
    variables = environment.of_script(ctx, script, artifacts_dir, place)
    if place is not None:
        Hooks(ctx=ctx, place=place, environment=variables, monitor=ProgramMonitor(ctx)).before()
    collect.remember_before(directory, artifacts_dir)
    memory.remember_before(directory)
    if is_coding:
        command = coding.command(directory, ctx.job, script, working_directory)
        variables = {**variables, **coding.variables(settings)}
    return LaunchPlan(
        directory=directory,
        command=command,
        working_directory=working_directory,
        environment=variables,
        grace_s=settings.stop_grace_s,
        stdin=_stdin(ctx),
    )


def _stdin(ctx: RunContext) -> Stdin:
    """Return what the script gets as its standard input.

    Raises:
        RunError: the task's parameter is neither true nor false.
    """
    wants_terminal = ctx.job.work.parameters.get("tty", False)
    if not isinstance(wants_terminal, bool):
        raise errors.RunError(
            f"parameters.tty of the task must be true or false, not {wants_terminal!r:.40}",
            advice="Write true or false",
        )
    if wants_terminal:
        return "terminal"
    return "fifo" if ctx.settings.auto_detect_input else "none"


def _about(ctx: RunContext) -> About:
    job, run = ctx.job, ctx.run
    return About(
        uid=run.uid,
        number=run.number,
        job_id=job.id,
        filed_at=job.filed_at,
        task_id=job.task_id,
        session_id=job.session_id,
        name=job.name,
        priority=job.priority,
    )


def read_script(ctx: RunContext, claimed: Task | None = None) -> Script:
    """Return the script as it is now: the claimed task's, else ask the API for it.

    What the task list said is the fallback.

    Raises:
        RunError: neither of them is there.
    """
    agent, job = ctx.agent, ctx.job
    recorded = Script(content=job.work.script, parameters=job.work.parameters)
    if job.task_id is None or agent.api is None:
        return recorded
    if claimed is not None and claimed.script.strip():
        return Script(content=claimed.script, parameters=claimed.parameters)
    try:
        return agent.api.script(job.task_id)
    except errors.ApiError as exc:
        if not recorded.content.strip():
            raise errors.RunError(f"cannot read the script of task {job.task_id}: {exc}") from exc
        logger.warning(
            "runs the script of task %s as it was filed, because it cannot be read now: %s",
            job.task_id,
            exc,
            extra={"action": "script_unread", "task": job.task_id, "job": job.id},
        )
        return recorded


def _command(ctx: RunContext, script: Script) -> list[str]:
    directory, job = ctx.directory, ctx.job
    if job.work.command:
        command = list(job.work.command)
        if all(_is_text(argument) for argument in command):
            return command
        # The library that starts processes takes text only; a shell script may hold any bytes.
        return ["/bin/sh", str(directory.write_script(f"exec {shlex.join(command)}\n"))]
    if not script.content.strip():
        raise errors.RunError(
            "the task has no script", advice="Give it one: an empty task has nothing to succeed at"
        )
    meant = script_text.as_meant(script.content)
    for note in meant.notes:
        ctx.log.say(note)
    path = directory.write_script(meant.text)
    return [*interpreter(meant.text), str(path)]


def _is_text(argument: str) -> bool:
    """Return whether an argument is text, not bytes in another encoding (PEP 383)."""
    return not any("\ud800" <= character <= "\udfff" for character in argument)


def _working_directory(ctx: RunContext) -> Path:
    job, settings = ctx.job, ctx.settings
    if job.work.directory is not None:
        chosen = Path(job.work.directory)
        if not chosen.is_dir():
            raise errors.RunError(f"the directory {chosen} is gone")
        return chosen
    chosen = settings.working_dir or (
        settings.base_dir
        / "work"
        / (_UNSAFE.sub("_", job.session_id).strip(".")[:_LONGEST_NAME] or "adhoc")
    )
    try:
        chosen.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise errors.RunError(f"cannot use the working directory {chosen}: {exc.strerror}") from exc
    return chosen
