"""What must not be committed: too large files, known secrets, large files without LFS."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator
from typing import Final

from keruta_agent.core import errors
from keruta_agent.core.units import format_size
from keruta_agent.git import commit as commits
from keruta_agent.git import lfs
from keruta_agent.git.command import Git, Result, records

#: Submodules among them, said here as the repository may say that theirs are not shown.
_RAW: Final = ("--raw", "-z", "--no-renames", "--no-abbrev", "--ignore-submodules=none")
#: Mode of a submodule in a tree.
GITLINK: Final = "160000"
#: Letters of changes that have brought something: added, modified, of another type.
_BRINGING: Final = ("A", "M", "T")
_SYMBOLIC_LINK: Final = "120000"
#: Bytes of changed files that are read at once.
_BATCH_BYTES: Final = 16 * 1024 * 1024


class RefusedError(errors.WorkspaceError):
    """Something in the changes must not leave this machine."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """What a commit may hold."""

    #: Bytes of one file.
    largest_file: int
    #: Tells whether bytes hold a secret that is known.
    holds_secret: Callable[[bytes], bool]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
    """One path with what a change has brought there: the content of a file, or a submodule's."""

    path: str
    mode: str
    new: str
    old: str
    letter: str


def staged_changes(git: Git, head: str | None) -> list[Change]:
    """Return what is staged, deletions included; ``head`` is None before the first commit."""
    before = "HEAD" if head else commits.empty_tree(git)
    result = git.run("diff", "--cached", *_RAW, before, "--", action="look at what is staged")
    return _changes(result)


def new_changes(git: Git, tip: str, *known: str) -> list[Change]:
    """Return what commits have brought that none of the known refs has, the newest first.

    ``known`` are options of ``rev-list``.
    """
    result = git.run(
        # Merges against each of their parents: they may bring what neither of them had.
        *("log", "--format=", "--root", "-m", *_RAW, tip, "--not", *known, "--"),
        action="look at what is to be pushed",
    )
    return _changes(result)


def _changes(result: Result) -> list[Change]:
    """Read the output of a comparison; each new content of a path is there once."""
    found: dict[tuple[str, str], Change] = {}
    fields = records(result.output)
    for status in fields:
        _, mode, old, new, letter = status.strip().split(" ")
        path = next(fields)
        change = Change(path=path, mode=mode, new=new, old=old, letter=letter)
        found.setdefault((path, new), change)
    return list(found.values())


def check(git: Git, limits: Limits, changes: Iterable[Change]) -> None:
    """Look at the files that changes have brought.

    Raises:
        RefusedError: one of them must not be committed or pushed.
    """
    blobs = [one for one in changes if one.letter in _BRINGING and one.mode != GITLINK]
    if not blobs:
        return
    sizes = _sizes(git, blobs)
    files = {blob.path for blob in blobs if blob.mode != _SYMBOLIC_LINK}
    large = lfs.meant(git, files)
    for blob in blobs:
        if blob.path in large and sizes[blob.new] > lfs.LARGEST_POINTER:
            raise _plain(blob)
        if sizes[blob.new] > limits.largest_file:
            raise RefusedError(
                f"{blob.path} has {format_size(sizes[blob.new])}, a file may have "
                f"{format_size(limits.largest_file)}",
                advice="Add it to .gitignore, use Git LFS, or raise KERUTA_GIT_MAX_FILE_SIZE",
            )
    for batch in _batches(blobs, sizes):
        contents = _contents(git, batch, sizes)
        for blob in batch:
            if blob.path in large and not lfs.is_pointer(contents[blob.new]):
                raise _plain(blob)
            if limits.holds_secret(contents[blob.new]) and not _held_before(git, limits, blob):
                raise RefusedError(
                    f"{blob.path} holds a secret that the agent knows",
                    advice="Take it out; keep secrets in variables or in files that git ignores",
                )


def _plain(blob: Change) -> RefusedError:
    message, advice = lfs.plain_file(blob.path)
    return RefusedError(message, advice=advice)


def _held_before(git: Git, limits: Limits, blob: Change) -> bool:
    """Return whether a file held a secret before it was changed: then it is no news."""
    if not blob.old.strip("0"):
        return False
    return limits.holds_secret(git.run("cat-file", "blob", blob.old, action="read a file").output)


def _sizes(git: Git, blobs: list[Change]) -> dict[str, int]:
    result = git.run(
        *("cat-file", "--batch-check=%(objectname) %(objectsize)"),
        stdin=_names(blobs),
        action="look at the changed files",
    )
    pairs = (line.split(" ") for line in result.text.splitlines())
    return {name: int(size) for name, size in pairs}


def _names(blobs: Iterable[Change]) -> bytes:
    return "".join(f"{blob.new}\n" for blob in blobs).encode()


def _batches(blobs: list[Change], sizes: dict[str, int]) -> Iterator[list[Change]]:
    """Yield the files in groups that fit into memory."""
    batch: list[Change] = []
    size = 0
    for blob in blobs:
        if batch and size + sizes[blob.new] > _BATCH_BYTES:
            yield batch
            batch, size = [], 0
        batch.append(blob)
        size += sizes[blob.new]
    yield batch


def _contents(git: Git, batch: list[Change], sizes: dict[str, int]) -> dict[str, bytes]:
    """Return what the files of a batch hold, read by one git."""
    output = git.run(
        *("cat-file", "--batch=%(objectname)"),
        stdin=_names(batch),
        action="read the changed files",
        most=sum(sizes[blob.new] + len(blob.new) + 2 for blob in batch),
    ).output
    contents = {}
    position = 0
    for blob in batch:
        position += len(blob.new) + 1
        contents[blob.new] = output[position : position + sizes[blob.new]]
        position += sizes[blob.new] + 1
    return contents
