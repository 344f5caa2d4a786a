"""Directories that git ignores in one clone, without a change of anybody's file.

Written to the repository's own ``info/exclude``, which is never committed and belongs to this
clone alone; a ``.gitignore`` would be somebody else's file, and a change to commit.
"""

from __future__ import annotations

import os
import re
from pathlib import Path, PurePath
from typing import Final

from keruta_agent.core import atomic_file

MARK: Final = "# keruta-agent: what scripts leave as artifacts is not for commits"
#: Characters that mean something in a pattern.
_SPECIAL: Final = re.compile(r"([\\*?\[\]!# ])")


def add(git_dir: Path, directory: PurePath) -> None:
    """Add a directory, as seen from the work tree's root, to ``info/exclude``, once.

    Raises:
        OSError: the file cannot be written.
        UnicodeError: the name is none that a file system can hold.
    """
    file = (git_dir / "info" / "exclude").resolve()
    if file.exists() and not file.is_file():
        return
    text = file.read_bytes() if file.exists() else b""
    line = os.fsencode(_pattern(directory))
    if line in text.splitlines() or b"\n" in line:
        return
    start = b"" if not text or text.endswith(b"\n") else b"\n"
    file.parent.mkdir(exist_ok=True)
    atomic_file.write(file, text + start + MARK.encode() + b"\n" + line + b"\n")


def _pattern(path: PurePath) -> str:
    """Return the pattern that matches just this directory."""
    return "/" + _SPECIAL.sub(r"\\\1", path.as_posix()) + "/"
