"""What decides about a change: the base's tests, and not what the change makes of them."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Iterator, Sequence
from typing import Final

from keruta_agent.core.coding import validation
from keruta_agent.core.coding.model import TaskContext
from keruta_agent.runner.checks.suite import patterns
from keruta_agent.runner.checks.suite.suite import LARGEST, Judgement, Part, Suite
from keruta_agent.runner.workspace.trees import Change, Entry, Trees

#: Changed lines of a file that are quoted, and characters of each.
_MOST_LINES: Final = 4
_LONGEST_LINE: Final = 160
#: Bytes of a file that are compared line by line.
_COMPARED: Final = 200_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judged:
    """A proposed tree, without what the change has no say in."""

    #: What is tested and committed.
    tree: str
    #: The same without the new tests.
    without_new: str
    #: The base with the new tests.
    base_with_new: str
    new_tests: tuple[str, ...] = ()
    #: What was taken back, and why: one text a file.
    reverted: tuple[str, ...] = ()
    #: What would have been, had the task not allowed it.
    allowed: tuple[str, ...] = ()


class Deciding:
    """The judge of proposed trees, by the tests of the tree that a run began with."""

    def __init__(
        self,
        trees: Trees,
        base: str,
        commands: Sequence[str],
        context: TaskContext,
        *,
        more: Sequence[str] = (),
    ) -> None:
        """Take the base's tree and the test commands; ``more`` are globs of further tests."""
        self.base = base
        self._trees = trees
        self._allowed = validation.allowed_tests(context)
        self._files = validation.allowed_files(context)
        self._entries = trees.entries(base)
        self._folders = {name.rpartition("/")[0] for name in self._entries}
        self._suite = Suite(self._entries, self._read, commands, more=more)

    def judge(self, proposed: str) -> Judged:
        """Return what of a proposed tree is tested, and what was taken back."""
        back: dict[str, Entry] = {}
        new: dict[str, Entry] = {}
        reverted, allowed = [], []
        for change in self._trees.changes(self.base, proposed):
            judgement = self._judge(change)
            if judgement.part is Part.NEW_TEST:
                new[change.path] = change.after
            elif judgement.part is Part.DECIDES:
                told = f"{change.path}: {judgement.reason}"
                if self._is_allowed(change.path):
                    allowed.append(told)
                else:
                    back[change.path] = change.before
                    reverted.append(f"{told}{self._lines(change)}")
        tree = self._trees.with_entries(proposed, back)
        return Judged(
            tree=tree,
            without_new=self._trees.with_entries(tree, dict.fromkeys(new)),
            base_with_new=self._trees.with_entries(self.base, new),
            new_tests=tuple(new),
            reverted=tuple(reverted),
            allowed=tuple(allowed),
        )

    def decides(self, path: str) -> bool:
        """Return whether a file of the work tree is part of what decides."""
        judgement = self._suite.judge(path, self._read, self._read)
        return judgement.part is Part.DECIDES and not self._is_allowed(path)

    def is_stray(self, path: str) -> bool:
        """Return whether a file that git does not know would change how the base's tests run."""
        folder = path.rpartition("/")[0]
        return folder in self._folders and patterns.is_setup(path) and self.decides(path)

    def _judge(self, change: Change) -> Judgement:
        def read(entry: Entry) -> bytes | None:
            return self._trees.content(entry, LARGEST)

        return self._suite.judge(
            change.path, lambda _: read(change.before), lambda _: read(change.after)
        )

    def _is_allowed(self, path: str) -> bool:
        if isinstance(self._allowed, bool):
            return self._allowed or path in self._files
        return path in self._files or patterns.matches(path, self._allowed)

    def _read(self, path: str) -> bytes | None:
        return self._trees.content(self._entries.get(path), LARGEST)

    def _lines(self, change: Change) -> str:
        """Quote the first lines in which a file was changed."""
        if change.after is None:
            return ": the change deletes it"
        if change.before is None:
            return ": the change makes it"
        before, after = (
            (self._trees.content(entry, _COMPARED) or b"").decode("utf-8", "replace").splitlines()
            for entry in (change.before, change.after)
        )
        quoted = list(_changed(before, after))
        return "".join(f"\n    {line[:_LONGEST_LINE]}" for line in quoted) or ": its mode"


def _changed(before: list[str], after: list[str]) -> Iterator[str]:
    left = _MOST_LINES
    number = 0
    for line in difflib.unified_diff(before, after, n=0, lineterm=""):
        if line.startswith(("---", "+++")) and not number:
            continue
        if line.startswith("@@"):
            number = int(line.split(" ")[1].lstrip("-").split(",")[0])
            continue
        yield f"line {number}: {line}"
        left -= 1
        if not left:
            return
