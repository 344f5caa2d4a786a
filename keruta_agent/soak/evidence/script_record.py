"""What a script of the soak recorded of itself, out of the agent's reach."""

from __future__ import annotations

import collections
from pathlib import Path


class ScriptRecord:
    """The record of one task's scripts."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        #: How often each run was started.
        self.starts: collections.Counter[int] = collections.Counter()
        #: Runs that found another script, or what it had left, still alive.
        self.overlaps: list[int] = []
        #: Runs in which the agent did not take a small command.
        self.unsent: list[int] = []
        #: How often a run broke its clone, and left something in its way.
        self.broke = 0
        self.left = 0
        for line in _lines(directory / "events"):
            word, _, number = line.partition(" ")
            if word == "start":
                self.starts[int(number)] += 1
            elif word == "overlap":
                self.overlaps.append(int(number))
            elif word == "unsent":
                self.unsent.append(int(number))
            self.broke += word == "broke"
            self.left += word == "left"

    def output(self, stream: str, number: int) -> bytes:
        """Return what a run wrote to one of its streams."""
        path = self._directory / f"{stream}.{number}"
        return path.read_bytes() if path.exists() else b""

    def logged(self, number: int) -> list[str]:
        """Return what a run said with ``keruta log``."""
        return _lines(self._directory / f"agent.{number}")

    @property
    def changed(self) -> str | None:
        """What the last run wrote to the task's file in the repository; None when nothing."""
        path = self._directory / "changed"
        return path.read_text(encoding="utf-8") if path.exists() else None

    @property
    def artifacts(self) -> list[tuple[str, str]]:
        """Path and SHA-256 of each artifact, of all runs."""
        found = []
        for number in sorted(self.starts):
            for line in _lines(self._directory / f"artifacts.{number}"):
                digest, _, path = line.partition(" ")
                found.append((path, digest))
        return found


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []
