"""The ``.git`` of a work tree: a directory, or a file that says where the repository is."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

#: Bytes of such a file that are read: a path and what stands before it.
_LONGEST: Final = 8192
_START: Final = "gitdir: "


def follow(work_tree: Path) -> Path:
    """Return where git keeps the repository of a work tree; a submodule's is its superproject's."""
    place = work_tree / ".git"
    if not place.is_file():
        return place
    with place.open("rb") as file:
        text = os.fsdecode(file.read(_LONGEST))
    if not text.startswith(_START):
        return place
    return Path(os.path.normpath(work_tree / text.removeprefix(_START).rstrip("\n")))


def leads_back(work_tree: Path, repository: Path, top: Path) -> bool:
    """Return whether a directory below ``top`` is the work tree of a repository, and no other's.

    One that is not there is nobody else's either.
    """
    inside = work_tree.is_relative_to(top) and work_tree != top
    if not inside or work_tree.is_relative_to(top / ".git"):
        return False
    if work_tree.resolve() != top.resolve() / work_tree.relative_to(top):  # a link leads elsewhere
        return False
    return not work_tree.exists() or follow(work_tree) == repository
