"""Keeps the artifacts directory out of git's commits when it lies inside a work tree.

Written to the repository's own ``info/exclude``, which is never committed and belongs to this
clone alone; a ``.gitignore`` would be somebody else's file, and a change to commit.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
import secrets
import stat
from pathlib import Path
from typing import Final

from keruta_agent.runs.files import read_small

logger = logging.getLogger(__name__)

MARK: Final = "# keruta-agent: what scripts leave as artifacts is not for commits"
#: Characters that mean something in a pattern.
_SPECIAL: Final = re.compile(r"([\\*?\[\]!# ])")


def keep_out_of_commits(directory: Path) -> None:
    """Adds a directory to ``info/exclude`` of the work tree around it, once; without one nothing.

    What goes wrong is logged: the artifacts are taken all the same.
    """
    try:
        found = _work_tree(directory.resolve())
        if found is not None:
            _exclude(found[1], _pattern(directory.resolve().relative_to(found[0])))
    except (OSError, UnicodeError) as exc:
        logger.warning(
            "cannot keep the artifacts in %s out of git's commits: %s",
            directory,
            exc,
            extra={"action": "exclude_failed"},
        )


def _work_tree(directory: Path) -> tuple[Path, Path] | None:
    """Returns the innermost work tree around a directory, and its git directory."""
    for root in directory.parents:
        git_dir = root / ".git"
        if git_dir.is_file():  # a linked work tree or a submodule: it says where
            pointer = (read_small(git_dir) or "").strip()
            git_dir = root / pointer.removeprefix("gitdir:").strip()
        if (git_dir / "HEAD").is_file():
            return root, _common(git_dir)
    return None


def _common(git_dir: Path) -> Path:
    """Returns the git directory that linked work trees share; git looks for the file there."""
    shared = read_small(git_dir / "commondir")
    return git_dir if shared is None else (git_dir / shared.strip()).resolve()


def _pattern(path: Path) -> str:
    """Returns the pattern that matches just this directory."""
    return "/" + _SPECIAL.sub(r"\\\1", path.as_posix()) + "/"


def _exclude(git_dir: Path, pattern: str) -> None:
    file = (git_dir / "info" / "exclude").resolve()
    if file.exists() and not file.is_file():
        return
    text = file.read_bytes() if file.exists() else b""
    line = os.fsencode(pattern)
    if line in text.splitlines() or b"\n" in line:
        return
    start = b"" if not text or text.endswith(b"\n") else b"\n"
    file.parent.mkdir(exist_ok=True)
    _replace(file, text + start + MARK.encode() + b"\n" + line + b"\n")


def _replace(file: Path, content: bytes) -> None:
    mode = stat.S_IMODE(file.stat().st_mode) if file.exists() else 0o644
    temporary = file.with_name(f".{file.name}-{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as stream:
            stream.write(content)
        temporary.chmod(mode)
        temporary.rename(file)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
