"""Which program runs a script."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Final

#: Bytes of a file in which its first line must end.
_HEAD: Final = 4096


def interpreter(text: str) -> list[str]:
    """Returns what runs a script text: its first line says it, else bash, else sh.

    The line is read here, because the directory may be mounted so that nothing in it can be
    executed.
    """
    first = text.split("\n", 1)[0]
    if first.startswith("#!") and first[2:].strip():
        program, _, argument = first[2:].strip().partition(" ")
        return [program, argument.strip()] if argument.strip() else [program]
    return [shutil.which("bash") or "/bin/sh"]


def command_for(program: Path) -> list[str]:
    """Returns the command that runs a file: a program by itself, a script by its interpreter.

    Raises:
        OSError: it cannot be read.
    """
    with program.open("rb") as file:
        head = file.read(_HEAD)
    if b"\0" in head and os.access(program, os.X_OK):
        return [str(program)]
    return [*interpreter(head.decode("utf-8", errors="replace")), str(program)]
