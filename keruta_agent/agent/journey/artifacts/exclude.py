"""The exclusion of the artifacts directory from commits when it lies inside a work tree."""

from __future__ import annotations

import logging
from pathlib import Path

from keruta_agent.agent.run.files import read_small
from keruta_agent.agent.workspace import exclude

logger = logging.getLogger(__name__)


def keep_out_of_commits(directory: Path) -> None:
    """Add a directory to ``info/exclude`` of the work tree around it, once; without one nothing.

    What goes wrong is logged: the artifacts are taken all the same.
    """
    try:
        found = _work_tree(directory.resolve())
        if found is not None:
            exclude.add(found[1], directory.resolve().relative_to(found[0]))
    except (OSError, UnicodeError) as exc:
        logger.warning(
            "cannot keep the artifacts in %s out of git's commits: %s",
            directory,
            exc,
            extra={"action": "exclude_failed"},
        )


def _work_tree(directory: Path) -> tuple[Path, Path] | None:
    """Return the innermost work tree around a directory, and its git directory."""
    for root in directory.parents:
        git_dir = root / ".git"
        if git_dir.is_file():  # a linked work tree or a submodule: it says where
            pointer = (read_small(git_dir) or "").strip()
            git_dir = root / pointer.removeprefix("gitdir:").strip()
        if (git_dir / "HEAD").is_file():
            return root, _common(git_dir)
    return None


def _common(git_dir: Path) -> Path:
    """Return the git directory that linked work trees share; git looks for the file there."""
    shared = read_small(git_dir / "commondir")
    return git_dir if shared is None else (git_dir / shared.strip()).resolve()
