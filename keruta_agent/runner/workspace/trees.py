"""The trees of a repository's object store: compared, and made from one another."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from pathlib import Path

from keruta_agent.git import commit as commits
from keruta_agent.git.command import Git, records
from keruta_agent.git.scan import GITLINK

#: Mode and object of a file, None where there is none.
Entry = tuple[str, str] | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Change:
    """One file in which two trees differ."""

    path: str
    before: Entry
    after: Entry


class Trees:
    """The trees of one repository; ``index`` is a file to make new ones with."""

    def __init__(self, git: Git, index: Path) -> None:
        self._git = git
        self._building = git.with_variables({"GIT_INDEX_FILE": str(index)})

    def entries(self, tree: str) -> dict[str, tuple[str, str]]:
        """Return what a tree holds, by path."""
        found = self._git.run("ls-tree", "-r", "-z", tree, action="list a tree")
        entries = {}
        for record in records(found.output):
            described, _, path = record.partition("\t")
            mode, _, name = described.split(" ")
            entries[path] = mode, name
        return entries

    def changes(self, before: str, after: str) -> list[Change]:
        """Return the files in which two trees differ; a moved one is gone, and there anew."""
        if before == after:
            return []
        arguments = ("diff-tree", "-r", "-z", "--raw", "--no-renames", before, after)
        fields = list(records(self._git.run(*arguments, action="compare trees").output))
        changes = []
        for described, path in zip(fields[::2], fields[1::2], strict=False):
            old_mode, new_mode, old, new, _ = described.lstrip(":").split(" ")
            changes.append(
                Change(path=path, before=_entry(old_mode, old), after=_entry(new_mode, new))
            )
        return changes

    def content(self, entry: Entry, most: int) -> bytes | None:
        """Return what a file holds, up to a number of bytes; None for no file, or a submodule."""
        if entry is None or entry[0] == GITLINK:
            return None
        found = self._git.run("cat-file", "blob", entry[1], action="read a file", most=most)
        return found.output

    def with_entries(self, tree: str, entries: Mapping[str, Entry]) -> str:
        """Return a tree with these files instead of its own."""
        if not entries:
            return tree
        self._building.run("read-tree", tree, action="make a tree")
        lines = b"".join(
            _line(path, entry or ("0", "0" * len(tree))).encode("utf-8", "surrogateescape")
            for path, entry in entries.items()
        )
        self._building.run(
            *("update-index", "-z", "--index-info"), action="make a tree", stdin=lines
        )
        return commits.write_tree(self._building)


def _entry(mode: str, name: str) -> Entry:
    return None if set(mode) == {"0"} else (mode, name)


def _line(path: str, entry: tuple[str, str]) -> str:
    mode, name = entry
    return f"{mode} {name}\t{path}\0"


def switch(git: Git, tree: str) -> None:
    """Bring the known files of a work tree to another tree; what is new in it stays."""
    git.run("read-tree", "--reset", "-u", tree, action="change the work tree")
    git.run("checkout-index", "--all", "--force", action="change the work tree")


def altered(git: Git) -> tuple[list[str], list[str]]:
    """Return the known files of a work tree that are not as staged, and those that are not known.

    What package managers install is left out.
    """
    git.run("update-index", "-q", "--refresh", action="find what changed", ok=False)
    known = git.run("diff-files", "-z", "--name-only", action="find what changed")
    others = git.run(
        *("ls-files", "-z", "--others", "--exclude=node_modules", "--exclude=site-packages"),
        action="find what is new",
    )
    return list(records(known.output)), list(records(others.output))


def put_back(git: Git, paths: Iterable[str]) -> None:
    """Bring known files of a work tree to what is staged."""
    given = "\0".join(paths).encode("utf-8", "surrogateescape")
    arguments = ("checkout-index", "--force", "-z", "--stdin")
    git.run(*arguments, action="put files back", stdin=given)
