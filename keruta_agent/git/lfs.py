"""Git LFS: large files are brought before a task, and never pushed as what they must not be.

Which files are meant is asked of git itself: attributes stand in any directory, in
``info/attributes`` and in the user's own file, and macros may hide them.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection
from pathlib import Path
from typing import Final

from keruta_agent.git.clone import Clone
from keruta_agent.git.command import Git, Say, records
from keruta_agent.git.url import REMOTE

#: How a file begins that only points at a large one; empty ones are committed as they are.
POINTER: Final = b"version https://git-lfs.github.com/spec/v1\n"
#: Bytes that a pointer has at most.
LARGEST_POINTER: Final = 1024
_MEANT: Final = ":(top,attr:filter=lfs)"


def is_meant(git: Git) -> bool:
    """Return whether any file that git knows is one for Git LFS."""
    return bool(_known(git))


def _known(git: Git) -> bytes:
    """Return the files that git knows and that are for Git LFS, each followed by a NUL."""
    return git.run("ls-files", "-z", "--", _MEANT, action="look for large files", ok=False).output


def is_installed() -> bool:
    """Return whether Git LFS can be used."""
    return shutil.which("git-lfs") is not None


def set_up(git: Git) -> None:
    """Make git pass the named files to Git LFS in this repository.

    Raises:
        WorkspaceError: it cannot be set up.
    """
    git.run("lfs", "install", "--local", "--skip-repo", action="set Git LFS up")


def bring(git: Git, say: Say) -> None:
    """Replace the pointers in the work tree by the large files, where there are any.

    Raises:
        WorkspaceError: they cannot be had.
    """
    if not is_meant(git) or git.setting(f"remote.{REMOTE}.url") is None:
        return
    if not is_installed():
        say("the repository uses Git LFS, which is not installed: large files are mere pointers")
        return
    set_up(git)
    git.run("lfs", "pull", action="bring the large files")


def hand_over_staged(git: Git) -> None:
    """Have Git LFS take files that were staged before it was set up here.

    Raises:
        WorkspaceError: it cannot take them.
    """
    if git.setting("filter.lfs.clean") or not is_installed():
        return
    paths = _known(git)
    if not paths:
        return
    set_up(git)
    git.with_variables({"GIT_LITERAL_PATHSPECS": "1"}).run(
        *("add", "--renormalize", "--pathspec-from-file=-", "--pathspec-file-nul"),
        stdin=paths,
        action="hand large files to Git LFS",
    )


def push(clone: Clone, remote: str, commit: str) -> None:
    """Upload the large files that commits point at: its hook, which would do it, is not run.

    Raises:
        WorkspaceError: the server does not take them, or one is missing.
    """
    is_used = is_meant(clone.git) or (clone.git_dir / "lfs" / "objects").is_dir()
    if is_used and is_installed():
        # A path alone is no address to Git LFS.
        remote = Path(remote).as_uri() if remote.startswith("/") else remote
        clone.git.run("lfs", "push", remote, commit, action="upload the large files")


def meant(git: Git, paths: Collection[str]) -> frozenset[str]:
    """Return which of these paths are for Git LFS by the attributes in the work tree."""
    if not paths:
        return frozenset()
    result = git.run(
        *("check-attr", "-z", "--stdin", "filter"),
        stdin="".join(f"{path}\0" for path in paths).encode("utf-8", "surrogateescape"),
        action="look for large files",
    )
    fields = list(records(result.output))
    return frozenset(
        path
        for path, _, value in zip(fields[::3], fields[1::3], fields[2::3], strict=True)
        if value == "lfs"
    )


def is_pointer(content: bytes) -> bool:
    """Return whether this is what Git LFS has git keep in place of a large file."""
    return not content or (len(content) <= LARGEST_POINTER and content.startswith(POINTER))


def plain_file(path: str) -> tuple[str, str]:
    """Return the reason and the advice for a file that would be pushed as it is."""
    why = "" if is_installed() else ", which is not installed"
    return (
        f"{path} is for Git LFS by its attributes{why}, and would be pushed as a plain file",
        "Install git-lfs, run git lfs install, and add the file anew; "
        "or take filter=lfs from its attributes",
    )
