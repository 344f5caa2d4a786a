"""Refuses what must not be committed: files that are too large, and known secrets."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Iterator

from keruta_agent import errors
from keruta_agent.settings.units import format_size
from keruta_agent.workspace.git import Git, records


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
class _Blob:
    path: str
    new: str
    old: str


def check_staged(git: Git, limits: Limits) -> None:
    """Looks at what is staged.

    Raises:
        RefusedError: something of it must not be committed.
    """
    head = git.find("rev-parse", "--verify", "--quiet", "HEAD")
    against = [head] if head else [_empty_tree(git)]
    _check(git, limits, _changed(git, ["--cached", *against]))


def check_commits(git: Git, limits: Limits, tip: str, *known: str) -> None:
    """Looks at each commit that none of the known refs has (options of ``rev-list``).

    Raises:
        RefusedError: something of it must not be pushed.
    """
    commits = git.text("rev-list", "--reverse", tip, "--not", *known, action="list the commits")
    for commit in commits.split():
        parent = git.find("rev-parse", "--verify", "--quiet", f"{commit}^1") or _empty_tree(git)
        _check(git, limits, _changed(git, [parent, commit]))


def _empty_tree(git: Git) -> str:
    return git.text("hash-object", "-t", "tree", "-w", "--stdin", action="make an empty tree")


def _changed(git: Git, between: list[str]) -> Iterator[_Blob]:
    result = git.run(
        *("diff", "--raw", "-z", "--no-renames", "--no-abbrev", "--diff-filter=AMT"),
        *("--ignore-submodules=all", *between, "--"),
        action="compare",
    )
    fields = records(result.output)
    for status in fields:
        _, mode, old, new, _ = status.split(" ")
        path = next(fields)
        if mode != "160000":
            yield _Blob(path=path, new=new, old=old)


def _check(git: Git, limits: Limits, blobs: Iterable[_Blob]) -> None:
    found = list(blobs)
    if not found:
        return
    sizes = _sizes(git, [blob.new for blob in found])
    for blob in found:
        if sizes[blob.new] > limits.largest_file:
            raise RefusedError(
                f"{blob.path} has {format_size(sizes[blob.new])}, a file may have "
                f"{format_size(limits.largest_file)}",
                advice="Add it to .gitignore, use Git LFS, or raise KERUTA_GIT_MAX_FILE_SIZE",
            )
    for blob in found:
        if limits.holds_secret(_content(git, blob.new)) and not (
            blob.old.strip("0") and limits.holds_secret(_content(git, blob.old))
        ):
            raise RefusedError(
                f"{blob.path} holds a secret that the agent knows",
                advice="Take it out, and keep secrets in variables or in files that git ignores",
            )


def _sizes(git: Git, blobs: list[str]) -> dict[str, int]:
    result = git.run(
        *("cat-file", "--batch-check=%(objectname) %(objectsize)"),
        stdin="\n".join([*blobs, ""]).encode(),
        action="look at the changed files",
    )
    pairs = (line.split(" ") for line in result.text.splitlines())
    return {name: int(size) for name, size in pairs}


def _content(git: Git, blob: str) -> bytes:
    return git.run("cat-file", "blob", blob, action="read a changed file").output
