"""Commits that only a broken clone holds, brought to the clone that took its place.

No git runs in the broken one: its configuration is a task's. Its refs are read as files, and its
objects are lent to a git in the new clone.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from keruta_agent.agent.workspace import branch as branches
from keruta_agent.core import file_trees
from keruta_agent.git.command import Git
from keruta_agent.git.problems import GitError

_COMMIT: Final = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_PACKED: Final = re.compile(r"([0-9a-f]{40}(?:[0-9a-f]{24})?) (refs/\S+)")
#: Refs of what only the clone knows; all others came from the server.
_OWN: Final = ("refs/heads/", "refs/keruta/", "refs/stash")
#: Of these the server has the commits.
_NOT_OWN: Final = "refs/keruta/tags/"
#: Where branches are named that are no task's: the new clone may have some of the same names.
_OTHERS: Final = "refs/keruta/moved/"
#: Bytes of a file with refs that are read.
_MOST_BYTES: Final = 64 * 1024 * 1024
#: Refs that are brought one by one, when not all of them can be brought at once.
_MOST_ALONE: Final = 200
#: Whatever a ref named that cannot be read any more.
UNREADABLE: Final = "unreadable"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Rescued:
    """What came of it."""

    brought: tuple[str, ...]
    #: Refs whose commits could not be brought.
    lost: tuple[str, ...]


def rescue(git: Git, broken: Path) -> Rescued:
    """Bring the commits of a broken clone that the clone of ``git`` has not, and name them."""
    return rescue_from(git, broken / ".git")


def rescue_from(git: Git, git_dir: Path) -> Rescued:
    """Do the same with a repository whose directory is given, such as a submodule's."""
    if not (git_dir / "objects").is_dir():
        # Nothing can be brought; without any object, nothing is held either.
        return Rescued(brought=(), lost=())
    tips = own_tips(git_dir)
    unreadable = tuple(name for name, commit in tips.items() if commit == UNREADABLE)
    tips = {name: commit for name, commit in tips.items() if commit != UNREADABLE}
    missing = _missing(git, tips)
    if not missing:
        return Rescued(brought=(), lost=unreadable)
    lending = git.with_variables({"GIT_ALTERNATE_OBJECT_DIRECTORIES": _quoted(git_dir / "objects")})
    brought = missing if _bring(lending, missing.values()) else {}
    if not brought:
        alone = list(missing.items())[:_MOST_ALONE]
        brought = {name: commit for name, commit in alone if _bring(lending, [commit])}
    brought = {name: commit for name, commit in brought.items() if _name(git, name, commit)}
    lost = (*unreadable, *(name for name in missing if name not in brought))
    return Rescued(brought=tuple(brought), lost=lost)


def own_tips(git_dir: Path) -> dict[str, str]:
    """Return the commits that the refs of a clone name, without the server's, read as files."""
    packed = dict(_packed(git_dir))
    loose = dict(_loose(git_dir))
    tips = {**packed, **loose}
    head = first_line(git_dir / "HEAD")
    if not head.startswith("ref: ") and (commit := last_of_log(git_dir, "HEAD", head)) is not None:
        tips["HEAD"] = commit
    return tips


def last_of_log(git_dir: Path, name: str, said: str = "") -> str | None:
    """Return the commit that a ref names: as it says itself, or as its log says."""
    if is_commit(said):
        return said
    lines = read_text(git_dir / "logs" / name).splitlines()
    for line in reversed(lines):
        new = line.split(" ", 2)[1:2]
        if new and _COMMIT.fullmatch(new[0]):
            return new[0] if is_commit(new[0]) else None  # it was deleted
    return None


def is_commit(text: str) -> bool:
    """Return whether a text is the name of an object."""
    return _COMMIT.fullmatch(text) is not None and set(text) != {"0"}


def packed_refs(text: str) -> Iterator[tuple[str, str]]:
    """Yield name and commit of each sound line of ``packed-refs``."""
    for line in text.splitlines():
        found = _PACKED.fullmatch(line)
        if found is not None:
            yield found[2], found[1]


def _packed(git_dir: Path) -> Iterator[tuple[str, str]]:
    for name, commit in packed_refs(read_text(git_dir / "packed-refs")):
        if _is_own(name):
            yield name, commit


def _loose(git_dir: Path) -> Iterator[tuple[str, str]]:
    for folder, _, names in file_trees.walk(git_dir / "refs"):
        for file in (Path(folder) / name for name in names):
            name = file.relative_to(git_dir).as_posix()
            said = first_line(file)
            if _is_own(name) and not said.startswith("ref: ") and not name.endswith(".lock"):
                yield name, last_of_log(git_dir, name, said) or UNREADABLE


def _is_own(name: str) -> bool:
    return name.startswith(_OWN) and not name.startswith(_NOT_OWN)


def _missing(git: Git, tips: Mapping[str, str]) -> dict[str, str]:
    """Return the tips that a clone has not."""
    asked = "".join(f"{commit}\n" for commit in tips.values()).encode()
    answer = git.run("cat-file", "--batch-check", stdin=asked, action="look for commits").text
    lines = answer.splitlines()
    return {
        name: commit
        for (name, commit), line in zip(tips.items(), lines, strict=True)
        if line.endswith(" missing")
    }


def _bring(lending: Git, commits: Iterable[str]) -> bool:
    """Pack what is missing of commits into the clone; return whether it could be done."""
    known = lending.text("for-each-ref", "--format=%(objectname)", action="list what is here")
    revisions = [*dict.fromkeys(commits), "--not", *dict.fromkeys(known.split())]
    try:
        result = lending.run(
            *("pack-objects", "--quiet", "--revs", "--delta-base-offset"),
            ".git/objects/pack/pack",
            stdin="".join(f"{revision}\n" for revision in revisions).encode(),
            action="bring commits of the broken clone",
            ok=False,
        )
    except GitError:
        return False
    return result.code == 0


def _name(git: Git, name: str, commit: str) -> bool:
    """Name a commit in the new clone, where it may have another of this name."""
    other = f"{_OTHERS}{name.removeprefix('refs/')}-{commit[:12]}"
    return any(
        git.holds("update-ref", ref, commit, "0" * len(commit))
        or git.find("rev-parse", "--verify", "--quiet", ref) == commit
        for ref in (_new_name(name, commit), other)
    )


def _quoted(path: Path) -> str:
    """Return a path as one entry of a list that git splits at colons."""
    text = str(path).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
    return f'"{text}"'


def _new_name(name: str, commit: str) -> str:
    if name == "HEAD":
        return f"refs/keruta/detached/{commit[:12]}"
    if name.startswith((f"refs/heads/{branches.PREFIX}", "refs/keruta/")):
        return name
    return f"{_OTHERS}{name.removeprefix('refs/')}-{commit[:12]}"


def first_line(file: Path) -> str:
    """Return the first line of a plain file, empty when it is none."""
    return read_text(file).partition("\n")[0].strip()


def read_text(file: Path) -> str:
    """Return what a plain file holds; empty when it is none, or cannot be read."""
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return ""
    with os.fdopen(descriptor, "rb") as stream:
        try:
            return stream.read(_MOST_BYTES).decode("utf-8", errors="surrogateescape")
        except OSError:  # a directory, a pipe without a writer
            return ""
