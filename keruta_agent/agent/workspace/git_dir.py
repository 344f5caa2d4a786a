"""The files of a ``.git`` without which git does nothing, put back: HEAD, config, index, refs.

A task, a crash or a full disk can empty or replace any of them. None of them holds work: what they
said is in the logs of the refs, at the server, or can be made anew. Objects are not repaired: where
one is missing, the clone is of no use. Those that a power cut has emptied are looked for, because
git notices them only when it needs them, in the middle of a task.
"""

from __future__ import annotations

import os
import re
import stat
from pathlib import Path
from typing import Final

from keruta_agent.agent.workspace import rescue
from keruta_agent.core import file_trees
from keruta_agent.git import clone as clones
from keruta_agent.git.command import Git
from keruta_agent.git.repository.notes import NOTES
from keruta_agent.git.url import RepositoryUrl

#: Files that git reads before it does anything. A pipe among them would have it wait for ever.
_FILES: Final = ("HEAD", "config", "index", "packed-refs", "shallow", "info/exclude")
_FOLDERS: Final = ("objects", "refs", "info", "logs", NOTES)
#: Directories of submodules and large files, which git makes when it needs them.
_FOLDERS_AT_NEED: Final = ("modules", "lfs")
#: Files that only work trees and worktrees beside a repository have: they lead git elsewhere.
_ASTRAY: Final = ("commondir", "gitdir", "config.worktree", "info/grafts")
#: What git makes anew, and trusts without a look: see its multi-pack-index and commit-graph.
_CACHES: Final = (
    *("objects/pack/multi-pack-index", "objects/info/commit-graph"),
    *("objects/info/commit-graphs", "keruta-index", "keruta-index.lock"),
)
_SYMBOLIC: Final = re.compile(r"ref: refs/[^\s]+")
#: HEAD of a clone that is on no branch, until the next task is on its own.
_NO_BRANCH: Final = "ref: refs/heads/keruta-recovered"
_LOCK: Final = ".lock"


def is_sound(git_dir: Path) -> bool:
    """Return whether git's first files are files, its directories such, and no object is empty."""
    return not empty_objects(git_dir) and all(
        mode is None or check(mode)
        for names, check in ((_FILES, stat.S_ISREG), (_FOLDERS, stat.S_ISDIR))
        for mode in (_mode(git_dir / name) for name in names)
    )


def empty_objects(git_dir: Path) -> list[Path]:
    """Return the files of objects and packs that hold nothing."""
    found = []
    for folder in (git_dir / "objects").glob("[0-9a-f][0-9a-f]"):
        found += _empty_files(folder)
    found += [
        file
        for file in _empty_files(git_dir / "objects" / "pack")
        if file.suffix in (".pack", ".idx")
    ]
    return found


def _empty_files(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return [
                Path(entry.path)
                for entry in entries
                if not entry.is_dir(follow_symlinks=False)
                and entry.stat(follow_symlinks=False).st_size == 0
            ]
    except OSError:  # there is none, or git complains of it
        return []


def is_whole(git: Git) -> bool:
    """Return whether all objects are there that a ref leads to. This takes a while."""
    return git.holds("fsck", "--connectivity-only", "--no-dangling", "--no-reflogs")


def restore(git: Git, url: RepositoryUrl) -> None:
    """Put back what is broken in the clone of ``git``, which the agent made.

    Raises:
        OSError: a file cannot be read or written.
        WorkspaceError: git takes none of it.
    """
    git_dir = git.directory / ".git"
    for name in _FOLDERS:
        if not file_trees.is_directory(git_dir / name):
            file_trees.remove(git_dir / name)
            (git_dir / name).mkdir()
    for name in _FOLDERS_AT_NEED:
        if not file_trees.is_directory(git_dir / name):
            file_trees.remove(git_dir / name)
    for place in (*(git_dir / name for name in (*_ASTRAY, *_CACHES)), *empty_objects(git_dir)):
        file_trees.remove(place)
    for name in _FILES:
        if not _is_file(git_dir / name):
            file_trees.remove(git_dir / name)
    _remove_lock_directories(git_dir)
    _restore_refs(git_dir)
    _restore_head(git_dir)
    _restore_lists(git_dir)
    # Put aside rather than read: it may hold what git cannot read, or what leads it elsewhere.
    if (git_dir / "config").exists():
        (git_dir / "config").replace(git_dir / NOTES / "config.before")
    git.run("init", "--quiet", action=f"make {git.directory} a repository again")
    clones.configure(git, url)
    git.run("worktree", "prune", action="forget work trees that are gone", ok=False)
    if not git.holds("ls-files", "--stage"):
        file_trees.remove(git_dir / "index")
        git.run("reset", "--quiet", action="list the files anew", ok=False)


def _remove_lock_directories(git_dir: Path) -> None:
    """Remove directories in the place of git's lock files."""
    places = [path for path in git_dir.iterdir() if path.name.endswith(_LOCK)]
    for folder, directories, _ in file_trees.walk(git_dir / "refs"):
        places += [Path(folder) / name for name in directories if name.endswith(_LOCK)]
    for place in places:
        if file_trees.is_directory(place):
            file_trees.remove(place)


def _restore_refs(git_dir: Path) -> None:
    """Write each broken ref as its log knows it; remove those that no log knows."""
    for folder, _, names in file_trees.walk(git_dir / "refs"):
        for file in (Path(folder) / name for name in names):
            said = rescue.first_line(file)
            if _is_file(file) and _SYMBOLIC.fullmatch(said):
                continue
            commit = rescue.last_of_log(git_dir, file.relative_to(git_dir).as_posix(), said)
            if commit is None:
                file_trees.remove(file)
            elif commit != said or not _is_file(file):
                _replace(file, f"{commit}\n")


def _restore_head(git_dir: Path) -> None:
    said = rescue.first_line(git_dir / "HEAD")
    if not _SYMBOLIC.fullmatch(said):
        _replace(git_dir / "HEAD", f"{rescue.last_of_log(git_dir, 'HEAD', said) or _NO_BRANCH}\n")


def _restore_lists(git_dir: Path) -> None:
    """Keep the lines that git can read of files that are lists."""
    text = rescue.read_text(git_dir / "packed-refs")
    if text:
        # Without its header: that promises an order, and tags with what they point at.
        sound = sorted(rescue.packed_refs(text))
        _replace(git_dir / "packed-refs", "".join(f"{commit} {name}\n" for name, commit in sound))
    shallow = rescue.read_text(git_dir / "shallow")
    if shallow and not all(map(rescue.is_commit, shallow.splitlines())):
        file_trees.remove(git_dir / "shallow")
    alternates = git_dir / "objects" / "info" / "alternates"
    lenders = rescue.read_text(alternates).splitlines()
    if not all((git_dir / "objects" / lender).is_dir() for lender in lenders):
        file_trees.remove(alternates)


def _replace(file: Path, text: str) -> None:
    temporary = file.with_name(f"{file.name}.keruta{_LOCK}")
    file_trees.remove(temporary)
    with temporary.open("x", encoding="utf-8", errors="surrogateescape") as stream:
        stream.write(text)
    temporary.replace(file)


def _is_file(path: Path) -> bool:
    mode = _mode(path)
    return mode is not None and stat.S_ISREG(mode)


def _mode(path: Path) -> int | None:
    """Return the mode of what is there, None for nothing; what cannot be asked has none."""
    try:
        return path.lstat().st_mode
    except FileNotFoundError:
        return None
    except OSError:  # what it is in is no directory
        return 0
