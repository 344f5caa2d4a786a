"""The agent's own lines in a run's log: what it does before and after the script.

They go into the run's own files, like what the script says, so that they have their place in the
order, and are there for ``keruta logs`` too. ``ingest`` stores them with the rest.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from keruta_agent.agent.delivery.redaction import Redaction
from keruta_agent.agent.run import messages
from keruta_agent.agent.run.directory import RunDirectory
from keruta_agent.core import errors

logger = logging.getLogger(__name__)

#: Characters of a line.
_LONGEST: Final = 8000


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunLog:
    """The writer of the agent's lines in the log of one run."""

    directory: RunDirectory
    redaction: Redaction
    job_id: int
    run_id: int
    run_uid: str

    @contextlib.contextmanager
    def group(self, name: str) -> Iterator[Path]:
        """Yield the file for the output of a program, as its own group.

        Raises:
            WorkspaceError: the file cannot be written.
        """
        output = self.directory.path / "stdout"
        _add_line(output, f"::group::{name}")
        try:
            yield output
        finally:
            _add_line(output, "::endgroup::")

    def say(self, text: str, level: str = "INFO", fields: Mapping[str, Any] | None = None) -> None:
        """Add a line about the run's workspace, to the agent's own log too."""
        text = self._shown(text)
        logger.log(
            getattr(logging, "WARNING" if level == "WARN" else level),
            "job %d: %s",
            self.job_id,
            text,
            extra={"action": "workspace", "job": self.job_id, "run": self.run_uid},
        )
        self._append(level, f"workspace: {text}", {"section": "workspace", **(fields or {})})

    def warn_once(self, text: str, *, section: str, identity: str) -> None:
        """Add a warning once, also when the agent was killed in between."""
        self._append("WARN", self._shown(text), {"section": section}, identity)

    def _shown(self, text: str) -> str:
        return self.redaction.of_run(self.run_id).redact(text)[:_LONGEST]

    def _append(
        self, level: str, message: str, fields: Mapping[str, Any], identity: str = ""
    ) -> None:
        line: dict[str, Any] = {"kind": "log", "level": level, "message": message}
        if identity:
            line["id"] = identity
        try:
            text = json.dumps({**line, "fields": fields})
            messages.append(self.directory.agent, text, identity=identity)
        except (OSError, ValueError) as exc:  # the script removed its own run directory
            logger.warning(
                "cannot add to the log of job %d: %s",
                self.job_id,
                exc,
                extra={"action": "section_unwritten", "job": self.job_id},
            )


def _add_line(output: Path, line: str) -> None:
    """Add a line of its own to a file.

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
