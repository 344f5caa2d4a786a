"""Getting a report of one test command, without changing what the command does."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Final

from keruta_agent.core import file_trees
from keruta_agent.core.coding.model import SingleTestResult
from keruta_agent.runner.changes.tree import Tree
from keruta_agent.runner.checks.results import junit, texts
from keruta_agent.runner.checks.results.report import Report, merged

#: Bytes of a report in a file, and of all files of one command.
_LARGEST: Final = 64 * 1024 * 1024
_MOST_FILES: Final = 500
#: Files that are looked at in search of reports.
_MOST_SEEN: Final = 50_000
#: How frameworks and build tools call their reports.
_REPORT: Final = re.compile(
    r"TEST-.*\.xml|.*junit.*\.xml|(?:test-)?(?:results?|report)s?\.xml", re.I
)
_LEFT_OUT: Final = re.compile(r"^\.\.\. \d+ bytes left out \.\.\.$", re.M)
#: What a pytest says that cannot be asked for a report.
_REFUSED: Final = re.compile(r"unrecognized arguments: .*--junitxml")


class Results:
    """The reports of test commands, for which a directory of the run is there."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._name = "pytest.xml"

    def environment(self, given: Mapping[str, str], root: Path) -> dict[str, str]:
        """Return the variables that have frameworks say more of each test."""
        with contextlib.suppress(OSError):
            (self._directory / self._name).unlink()
        path = shlex.quote(str(self._directory / self._name))
        asked = {"PYTEST_ADDOPTS": f"{given.get('PYTEST_ADDOPTS', '')} --junitxml={path}".strip()}
        if (root / "go.mod").is_file():
            asked["GOFLAGS"] = f"{given.get('GOFLAGS', '')} -v".strip()
        return {**given, **asked}

    def is_refused(self, result: SingleTestResult) -> bool:
        """Return whether the command failed only because it was asked for a report."""
        return not result.success and bool(_REFUSED.search(f"{result.stdout}\n{result.stderr}"))

    def read(self, result: SingleTestResult, root: Path, began_ns: int) -> Report | None:
        """Return what a command has said of its tests since it began, None for nothing."""
        reports = [
            report
            for text in (result.stdout, result.stderr)
            for report in texts.parse(text)
            # Where lines are missing, only the numbers at the end are true.
            if not (report.is_complete and _LEFT_OUT.search(text))
        ]
        written = self._written()
        if written is not None:
            others = [report for report in reports if report.framework != "pytest"]
            return merged([written, *others])
        if not any(report.outcomes for report in reports):
            found = junit.parse(_files(root, began_ns))
            if found is not None:
                return found
        return merged(reports)

    def _written(self) -> Report | None:
        with contextlib.suppress(OSError):
            data = Tree(self._directory).read(PurePosixPath(self._name), _LARGEST)
            return None if data is None else junit.parse([data], "pytest")
        return None


def _files(root: Path, began_ns: int) -> Iterator[bytes]:
    """Yield the reports below a directory that were written since a moment."""
    tree = Tree(root)
    left, size = _MOST_SEEN, 0
    found: list[bytes] = []
    for folder, inner, names in file_trees.walk(root):
        inner[:] = [name for name in inner if name not in (".git", "node_modules")]
        left -= len(names)
        for name in filter(_REPORT.fullmatch, names):
            path = Path(folder) / name
            with contextlib.suppress(OSError):
                if os.lstat(path).st_mtime_ns < began_ns:
                    continue
                data = tree.read(PurePosixPath(path.relative_to(root).as_posix()), _LARGEST)
                if data is not None and size + len(data) <= _LARGEST and len(found) < _MOST_FILES:
                    size += len(data)
                    found.append(data)
        if left < 0:
            break
    return iter(found)
