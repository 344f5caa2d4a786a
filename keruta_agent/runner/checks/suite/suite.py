"""The judgement of a change: what of it alters the tests that decide about it."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Iterable
from pathlib import PurePosixPath
from typing import Final

from keruta_agent.runner.checks.suite import patterns, programs, sections

Read = Callable[[str], bytes | None]

#: Bytes of a file of the base that are read to know what it is.
LARGEST: Final = 1024 * 1024


class Part(enum.Enum):
    """What a changed file is to the tests."""

    #: Nothing: the change itself.
    NONE = enum.auto()
    #: A test that the base does not have, or what belongs to one.
    NEW_TEST = enum.auto()
    #: Part of what decides. The change has no say in it.
    DECIDES = enum.auto()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Judgement:
    """What one changed file is to the tests, and why."""

    part: Part
    reason: str = ""


_NOTHING: Final = Judgement(part=Part.NONE)


class Suite:
    """The tests of a repository as its base has them, and all that decides how they end."""

    def __init__(
        self, names: Iterable[str], read: Read, commands: Iterable[str], *, more: Iterable[str] = ()
    ) -> None:
        """Take the base's files and the test commands; ``more`` are globs of further tests."""
        self._names = frozenset(names)
        self._read = read
        self._more = tuple(more)
        self._run = programs.run_by(commands, self._names, read)
        self._folders = {
            str(folder) for name in self._names for folder in PurePosixPath(name).parents
        }
        self._has_tests = any(
            patterns.is_test(name) or patterns.is_setup(name) or patterns.matches(name, self._more)
            for name in self._names
        )

    def judge(self, path: str, before: Read, after: Read) -> Judgement:
        """Return what a file is that a change makes, alters or deletes."""
        is_new = path not in self._names
        if path in self._run:
            return _decides("a test command runs it")
        if patterns.is_setup(path):
            return self._of_setup(path, is_new=is_new)
        content = after(path) if is_new else before(path)
        if patterns.matches(path, self._more) or patterns.is_test(path, content):
            if is_new:
                return Judgement(part=Part.NEW_TEST, reason="it is a new test")
            return _decides("it is a test, or belongs to one")
        is_known = self._has_tests or not is_new
        if is_known and sections.of(path, before(path)) != sections.of(path, after(path)):
            return _decides("its part about tests is changed")
        return _NOTHING

    def _of_setup(self, path: str, *, is_new: bool) -> Judgement:
        if is_new and not self._has_tests:
            return _NOTHING  # there is no test that it could weaken
        is_alone = str(PurePosixPath(path).parent) not in self._folders
        if is_new and is_alone and not patterns.steers_all(path):
            return Judgement(part=Part.NEW_TEST, reason="it is for new tests alone")
        return _decides("it configures how tests are found or run")


def _decides(reason: str) -> Judgement:
    return Judgement(part=Part.DECIDES, reason=reason)
