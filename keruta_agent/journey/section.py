"""A section of a task's log: what the agent itself does before and after the script.

It goes into the run's own files, like what the script says, so that it has its place in the order,
and is there for ``keruta logs`` too.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from keruta_agent import errors
from keruta_agent.journey import follow, select_artifacts
from keruta_agent.journey.agent import Agent
from keruta_agent.records.jobs import Job, StopKind
from keruta_agent.records.run import Run
from keruta_agent.runs import messages

logger = logging.getLogger(__name__)

#: Seconds between looks at what a hook wrote.
LOOK_S: Final = 0.5
_LONGEST: Final = 8000
#: Files that the log names; who leaves thousands of links needs no line for each.
_MOST_LEFT_OUT: Final = 50


class Section:
    """Where the agent's work on a run's repository is told."""

    def __init__(self, agent: Agent, job: Job, run: Run, heeded: StopKind | None = None) -> None:
        """Takes the run, and the kind of stop that is why it ended: it stops nothing more."""
        self._agent = agent
        self._heeded = heeded
        self._job = job
        self._run = run
        self._directory = agent.directory_of(run)
        self._looked_at = 0.0

    @contextlib.contextmanager
    def group(self, name: str) -> Iterator[Path]:
        """Yields the file to which a program writes whose output is a group of its own."""
        output = self._directory.path / "stdout"
        _add_line(output, f"::group::{name}")
        try:
            yield output
        finally:
            _add_line(output, "::endgroup::")

    def say(self, text: str, level: str = "INFO", fields: Mapping[str, Any] | None = None) -> None:
        """Adds a line."""
        text = self._agent.redaction.of_run(self._run.id).redact(text)[:_LONGEST]
        line = {
            "kind": "log",
            "level": level,
            "message": f"workspace: {text}",
            "fields": {"section": "workspace", **(fields or {})},
        }
        logger.log(
            getattr(logging, "WARNING" if level == "WARN" else level),
            "job %d: %s",
            self._job.id,
            text,
            extra={"action": "workspace", "job": self._job.id, "run": self._run.uid},
        )
        self._append(line)
        self.look()

    def tell_left_out(self, found: Sequence[tuple[str, str]]) -> None:
        """Adds which files did not become artifacts, by path, and why.

        Told once, also when the agent was killed before the run's end was stored.
        """
        redactor = self._agent.redaction.of_run(self._run.id)
        lines = [
            f"artifacts: {select_artifacts.wire_path(path) or 'the directory'} {why}"
            for path, why in found[:_MOST_LEFT_OUT]
        ]
        if len(found) > len(lines):
            lines.append(f"artifacts: {len(found) - len(lines)} more files were left out")
        for number, text in enumerate(lines):
            identity = f"{self._run.uid}-left-out-{number}"
            message = redactor.redact(text)[:_LONGEST]
            line = {"kind": "log", "level": "WARN", "message": message, "id": identity}
            self._append({**line, "fields": {"section": "artifacts"}}, identity)
        if lines:
            self.look(final=True)

    def _append(self, line: Mapping[str, Any], identity: str = "") -> None:
        try:
            messages.append(self._directory.agent, json.dumps(line), identity=identity)
        except (OSError, ValueError) as exc:  # the script removed its own run directory
            logger.warning(
                "cannot add to the log of job %d: %s",
                self._job.id,
                exc,
                extra={"action": "section_unwritten", "job": self._job.id},
            )

    def look(self, *, final: bool = False) -> None:
        """Stores what was written, for those who follow the run."""
        if not final and time.monotonic() - self._looked_at < LOOK_S:
            return
        self._looked_at = time.monotonic()
        try:
            follow.catch_up(self._agent, self._job, self._run, final=final)
        except errors.RunError as exc:
            logger.warning(
                "cannot read the log of job %d: %s",
                self._job.id,
                exc,
                extra={"action": "section_unread", "job": self._job.id},
            )

    def stop_reason(self) -> str | None:
        """Returns why the run is to stop; looks after the section while something runs."""
        self.look()
        current = self._agent.records.jobs.get(self._job.id)
        if current is None or current.stop_kind in (None, self._heeded):
            return None
        return current.stop_reason or str(current.stop_kind)


def _add_line(output: Path, line: str) -> None:
    """Adds a line of its own to a file.

    Raises:
        WorkspaceError: the file cannot be written.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        with os.fdopen(os.open(output, flags, 0o600), "rb+", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            unfinished = size > 0 and os.pread(file.fileno(), 1, size - 1) != b"\n"
            file.write(f"{os.linesep if unfinished else ''}{line}\n".encode())
    except OSError as exc:
        raise errors.WorkspaceError(f"cannot write {output}: {exc.strerror}") from exc
