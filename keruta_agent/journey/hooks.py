"""Runs what belongs around a task: the repository's own set-up, and the hooks of the settings.

What they write is part of the task's log. All of their processes end with them.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from keruta_agent import errors
from keruta_agent.journey import workspace
from keruta_agent.journey.agent import Agent
from keruta_agent.journey.section import Section
from keruta_agent.records.jobs import Job
from keruta_agent.records.run import Run
from keruta_agent.runs import processes
from keruta_agent.runs.interpreter import command_for
from keruta_agent.settings.units import format_duration
from keruta_agent.workspace import hook
from keruta_agent.workspace.checkout import Place
from keruta_agent.workspace.command import StoppedError
from keruta_agent.workspace.state import Notes

#: In a run's directory: that its post-task hook has been run.
_DONE: Final = "post-task-hook"


def before(agent: Agent, job: Job, run: Run, place: Place, environment: Mapping[str, str]) -> None:
    """Runs the repository's set-up, if it is new, and the hook before the task.

    Raises:
        WorkspaceError: one of them failed.
        NotWantedError: somebody stopped the job meanwhile.
    """
    section = Section(agent, job, run)
    install, notes = place.directory / hook.INSTALL, Notes(git_dir=place.directory / ".git")
    if install.is_file() and not notes.has_installed(install):
        _run(agent, job, run, place, environment, str(hook.INSTALL), install, section)
        notes.note_installed(install)
    program = agent.settings.pre_task_hook
    if program is not None:
        _run(agent, job, run, place, environment, "the pre-task hook", program, section)
    agent.directory_of(run).note_script_begins()


def after(
    agent: Agent,
    job: Job,
    run: Run,
    place: Place,
    environment: Mapping[str, str],
    section: Section,
) -> None:
    """Runs the hook after the task, once.

    Raises:
        WorkspaceError: it failed.
        NotWantedError: somebody stopped the job meanwhile.
    """
    program, note = agent.settings.post_task_hook, agent.directory_of(run).path / _DONE
    if program is None or note.exists():
        return
    try:
        _run(agent, job, run, place, environment, "the post-task hook", program, section)
    finally:
        note.touch()


def _run(
    agent: Agent,
    job: Job,
    run: Run,
    place: Place,
    environment: Mapping[str, str],
    name: str,
    program: Path,
    section: Section,
) -> None:
    try:
        command = command_for(program)
    except OSError as exc:
        raise errors.WorkspaceError(f"cannot read {name}, {program}: {exc.strerror}") from exc
    section.say(f"runs {name}")
    began = time.monotonic()
    try:
        with section.group(name) as output:
            found = hook.Hook(
                name=name,
                command=command,
                directory=place.directory,
                environment=environment,
                output=output,
                timeout_s=agent.settings.hook_timeout_s,
            )
            hook.run(found, section.stop_reason)
        section.look(final=True)
        section.say(f"{name} has ended after {format_duration(round(time.monotonic() - began, 1))}")
    except StoppedError:
        raise workspace.not_wanted(agent, job) from None
    finally:
        if processes.marked_processes(run.uid):
            processes.sweep(run.uid, agent.settings.stop_grace_s)
        section.look(final=True)
