"""Programs around a task: the repository's own set-up, and the hooks of the settings."""

from __future__ import annotations

import dataclasses
import os
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from keruta_agent.core import errors
from keruta_agent.core.process_tree import waiting as command
from keruta_agent.core.process_tree.children import OWN
from keruta_agent.core.units import format_duration

#: The repository's own set-up, run once for each clone and each change of it.
INSTALL: Final = Path(".keruta") / "install.sh"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Hook:
    """One program and how it is run."""

    #: How people know it.
    name: str
    command: Sequence[str]
    directory: Path
    environment: Mapping[str, str] = dataclasses.field(repr=False)
    #: File to which all that it writes is added.
    output: Path
    timeout_s: float
    #: What it may read.
    stdin: bytes = dataclasses.field(default=b"", repr=False)


def run(hook: Hook, stop_reason: Callable[[], str | None]) -> None:
    """Run a hook to its end.

    Raises:
        WorkspaceError: it failed, took too long, or could not be started.
        StoppedError: somebody wanted it stopped.
    """
    process = _start(hook)
    try:
        code = command.wait(process, hook.timeout_s, stop_reason)
    except command.TookTooLongError:
        raise errors.WorkspaceError(
            f"{hook.name} took longer than {format_duration(hook.timeout_s)}",
            advice="KERUTA_HOOK_TIMEOUT says how long it may take",
        ) from None
    if code != 0:
        how = f"exited with code {code}" if code > 0 else f"was killed by signal {-code}"
        raise errors.WorkspaceError(f"{hook.name} {how}", advice="Its output is in the task's log")


def _start(hook: Hook) -> subprocess.Popen[bytes]:
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        with (
            tempfile.TemporaryFile() as given,
            os.fdopen(os.open(hook.output, flags, 0o600), "ab") as output,
        ):
            given.write(hook.stdin)
            given.seek(0)
            return OWN.spawn(
                list(hook.command),
                cwd=hook.directory,
                env=dict(hook.environment),
                stdin=given,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
    except OSError as exc:
        raise errors.WorkspaceError(
            f"cannot start {hook.name} ({hook.command[0]}): {exc.strerror}"
        ) from exc
