"""Which program runs a script."""

from __future__ import annotations

import os
import shlex
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from keruta_agent.agent.run import script_text
from keruta_agent.core import errors

#: Bytes of a file in which its first line must end.
_HEAD: Final = 4096


def interpreter(text: str) -> list[str]:
    """Return what runs a script text: its first line says it, else bash, else sh.

    The line is read here, because the directory may be mounted so that nothing in it can be
    executed.
    """
    first = text.lstrip("\ufeff").split("\n", 1)[0]
    if first.startswith("#!") and first[2:].strip():
        program, _, argument = first[2:].strip().partition(" ")
        return [program, argument.strip()] if argument.strip() else [program]
    return [shutil.which("bash") or "/bin/sh"]


def command_for(program: Path) -> list[str]:
    """Return the command that runs a file: a program by itself, a script by its interpreter.

    Raises:
        OSError: it cannot be read.
        WorkspaceError: see ``check_line_ends``.
    """
    with program.open("rb") as file:
        head = file.read(_HEAD)
    if b"\0" in head and os.access(program, os.X_OK):
        return [str(program)]
    command = interpreter(head.decode("utf-8", errors="replace"))
    check_line_ends(program, head, command)
    return [*command, str(program)]


def check_line_ends(program: Path, head: bytes, command: Sequence[str]) -> None:
    """Refuse a script file that its shell would misread; other interpreters take any line end.

    It is not converted: it is somebody's file, and a copy elsewhere would not find its neighbours.

    Raises:
        WorkspaceError: its lines end as on Windows.
    """
    words = [Path(word).name for part in command for word in part.split()]
    shell = next((word for word in words if word in script_text.SHELLS), None)
    if shell is not None and script_text.has_windows_ends(head):
        raise errors.WorkspaceError(
            f"{program} has Windows line ends (CRLF), which {shell} takes for part of each command",
            advice=f"Convert it: sed -i 's/\\r$//' {shlex.quote(str(program))}; "
            "in git, *.sh text eol=lf in .gitattributes keeps it so",
        )


def starts_by_itself(program: Path, head: bytes) -> bool:
    """Return whether the kernel can start a file: a script's first line has no CR and no BOM."""
    first = head.partition(b"\n")[0]
    is_odd = first.startswith(b"\xef\xbb\xbf") or (first[:2] == b"#!" and first[-1:] == b"\r")
    return os.access(program, os.X_OK) and not is_odd
