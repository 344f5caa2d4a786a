"""A temporary directory in which keruta runs apart from the user's settings and agent."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from keruta_agent.core import errors, file_trees

#: Lines of a log that are shown when something went wrong.
TAIL_LINES: Final = 15

#: Variables of the user that could change what happens.
_NOT_INHERITED: Final = ("KERUTA_", "CODER_", "GIT_", "OPENAI_", "TASK_", "RUNNER_")


class Sandbox:
    """A temporary directory, and keruta's processes that work in it."""

    def __init__(self, purpose: str) -> None:
        """Make the directory.

        Raises:
            AgentStateError: there is no place for it.
        """
        self.directory = _temporary_directory(purpose)
        self.base_dir = self.directory / "agent"
        self._config = self.directory / "config.yaml"
        self._config.write_text(f"# No settings: the {purpose} gives them as variables.\n")

    def spawn(
        self,
        arguments: Sequence[str],
        variables: Mapping[str, str],
        log: Path,
        base_dir: Path | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start ``keruta`` with these arguments and settings; its output is added to a log."""
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(_NOT_INHERITED)
        }
        own = {
            "KERUTA_CONFIG": str(self._config),
            "KERUTA_BASE_DIR": str(base_dir or self.base_dir),
        }
        with log.open("ab") as output:
            return subprocess.Popen(
                [sys.executable, "-m", "keruta_agent", *arguments],
                cwd=self.directory,
                env={**inherited, **variables, **own},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Ctrl-C goes to the parent, which then ends them in order.
                start_new_session=True,
            )

    def remove(self) -> None:
        """Remove every file.

        Raises:
            RunError: some cannot be removed.
        """
        with contextlib.suppress(OSError):
            file_trees.remove(self.directory)
        if self.directory.exists():
            raise errors.RunError(f"cannot remove {self.directory}", advice="Remove it by hand")


def tail(log: Path) -> str:
    """Return the last lines of a log, indented."""
    try:
        lines = log.read_text(errors="replace").splitlines()[-TAIL_LINES:]
    except FileNotFoundError:
        lines = []
    return "\n".join(f"  {line}" for line in lines) or "  (its log is empty)"


def _temporary_directory(purpose: str) -> Path:
    try:
        return Path(tempfile.mkdtemp(prefix=f"keruta-{purpose}-"))
    except OSError as exc:
        raise errors.AgentStateError(
            f"cannot make a temporary directory for the {purpose}: {exc.strerror}",
            advice="Set TMPDIR to a directory with room that this user may write",
        ) from exc
