"""What runs around a task: the repository's own set-up, and the hooks of the settings.

What they write is part of the task's log. All of their processes end with them.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from pathlib import Path

from keruta_agent.agent.journey.context import RunContext
from keruta_agent.agent.journey.observe.monitor import ProgramMonitor
from keruta_agent.agent.run import processes
from keruta_agent.agent.run.interpreter import command_for
from keruta_agent.agent.workspace import hook
from keruta_agent.agent.workspace.checkout import Place
from keruta_agent.core import errors
from keruta_agent.core.process_tree.waiting import StoppedError
from keruta_agent.core.units import format_duration
from keruta_agent.git.repository.notes import Notes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hooks:
    """The hooks around the script of one run."""

    ctx: RunContext
    place: Place
    environment: Mapping[str, str]
    monitor: ProgramMonitor

    def before(self) -> None:
        """Run the repository's set-up, if it is new, and the hook before the task.

        Raises:
            WorkspaceError: one of them failed.
            JobStoppedError: somebody stopped the job meanwhile.
        """
        install = self.place.directory / hook.INSTALL
        notes = Notes(git_dir=self.place.directory / ".git")
        if install.is_file() and not notes.has_installed(install):
            self._run(str(hook.INSTALL), install)
            notes.note_installed(install)
        program = self.ctx.settings.pre_task_hook
        if program is not None:
            self._run("the pre-task hook", program)
        self.ctx.directory.note_script_begins()

    def after(self) -> None:
        """Run the hook after the task, once.

        Raises:
            WorkspaceError: it failed.
            JobStoppedError: somebody stopped the job meanwhile.
        """
        program = self.ctx.settings.post_task_hook
        if program is None or self.ctx.run.post_hook_done:
            return
        try:
            self._run("the post-task hook", program)
        finally:
            self.ctx.records.runs.post_hook_was_run(self.ctx.run.id)
            self.ctx.refresh()

    def run_of_repository(
        self, name: str, program: Path, *arguments: str, stdin: bytes = b""
    ) -> None:
        """Run a hook of the repository's own, such as pre-commit.

        Raises:
            WorkspaceError: it failed.
            JobStoppedError: somebody stopped the job meanwhile.
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
        log = self.ctx.log
        log.say(f"runs {name}")
        self.monitor.store_log()  # before what the program writes
        began = time.monotonic()
        try:
            with log.group(name) as output:
                found = hook.Hook(
                    name=name,
                    command=[*command, *arguments],
                    directory=self.place.directory,
                    environment=self.environment,
                    output=output,
                    timeout_s=self.ctx.settings.hook_timeout_s,
                    stdin=stdin,
                )
                hook.run(found, self.monitor.stop_reason)
            self.monitor.store_log()
            took = format_duration(round(time.monotonic() - began, 1))
            log.say(f"{name} has ended after {took}")
        except StoppedError:
            raise self.ctx.stop_error() from None
        finally:
            processes.sweep(self.ctx.run.uid, self.ctx.settings.stop_grace_s, is_clear=True)
            self.monitor.store_log()
