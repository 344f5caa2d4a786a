"""Runs what belongs around a task: the repository's own set-up, and the hooks of the settings.

What they write is part of the task's log. All of their processes end with them.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path

from keruta_agent import errors
from keruta_agent.git.notes import Notes
from keruta_agent.journey import workspace
from keruta_agent.journey.agent import Agent
from keruta_agent.journey.section import Section
from keruta_agent.process_tree.waiting import StoppedError
from keruta_agent.records.jobs import Job
from keruta_agent.records.run import Run
from keruta_agent.runs import processes
from keruta_agent.runs.interpreter import command_for
from keruta_agent.units import format_duration
from keruta_agent.workspace import hook
from keruta_agent.workspace.checkout import Place


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hooks:
    """What belongs around the script of one run."""

    agent: Agent
    job: Job
    run: Run
    place: Place
    environment: Mapping[str, str]
    section: Section

    def before(self) -> None:
        """Runs the repository's set-up, if it is new, and the hook before the task.

        Raises:
            WorkspaceError: one of them failed.
            NotWantedError: somebody stopped the job meanwhile.
        """
        install = self.place.directory / hook.INSTALL
        notes = Notes(git_dir=self.place.directory / ".git")
        if install.is_file() and not notes.has_installed(install):
            self._run(str(hook.INSTALL), install)
            notes.note_installed(install)
        program = self.agent.settings.pre_task_hook
        if program is not None:
            self._run("the pre-task hook", program)
        self.agent.directory_of(self.run).note_script_begins()

    def after(self) -> None:
        """Runs the hook after the task, once.

        Raises:
            WorkspaceError: it failed.
            NotWantedError: somebody stopped the job meanwhile.
        """
        program = self.agent.settings.post_task_hook
        if program is None or self.agent.records.runs.get(self.run.id).post_hook_done:
            return
        try:
            self._run("the post-task hook", program)
        finally:
            self.agent.records.runs.post_hook_was_run(self.run.id)

    def run_of_repository(
        self, name: str, program: Path, *arguments: str, stdin: bytes = b""
    ) -> None:
        """Run a hook of the repository's own, such as pre-commit.

        Raises:
            WorkspaceError: it failed.
            NotWantedError: somebody stopped the job meanwhile.
        """
        try:
            self._run(name, program, *arguments, stdin=stdin)
        except errors.WorkspaceError as exc:
            raise errors.WorkspaceError(
                exc.message, advice="Its output is in the task's log; git.run_hooks turns it off"
            ) from exc

    def _run(self, name: str, program: Path, *arguments: str, stdin: bytes = b"") -> None:
        try:
            command = command_for(program)
        except OSError as exc:
            raise errors.WorkspaceError(f"cannot read {name}, {program}: {exc.strerror}") from exc
        self.section.say(f"runs {name}")
        began = time.monotonic()
        try:
            with self.section.group(name) as output:
                found = hook.Hook(
                    name=name,
                    command=[*command, *arguments],
                    directory=self.place.directory,
                    environment=self.environment,
                    output=output,
                    timeout_s=self.agent.settings.hook_timeout_s,
                    stdin=stdin,
                )
                hook.run(found, self.section.stop_reason)
            self.section.look(final=True)
            took = format_duration(round(time.monotonic() - began, 1))
            self.section.say(f"{name} has ended after {took}")
        except StoppedError:
            raise workspace.not_wanted(self.agent, self.job) from None
        finally:
            processes.sweep(self.run.uid, self.agent.settings.stop_grace_s, is_clear=True)
            self.section.look(final=True)
