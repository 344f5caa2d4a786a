"""What a waiting script wants to know: the end of its output as a text for a person."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Final

from keruta_agent.agent.run.files import open_regular

#: Characters of a prompt; of a longer one the end is kept.
LONGEST_PROMPT: Final = 1000
#: Bytes of the output's end that are looked at.
TAIL_BYTES: Final = 16 * 1024
#: Seconds by which an unfinished line may be older than the last output to count as the prompt:
#: `set -x` writes `+ read name` to the other stream after it.
UNFINISHED_S: Final = 1.0

#: Control sequences of terminals: CSI, OSC and its relatives, and short escapes (ECMA-48).
_SEQUENCES: Final = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]"
    r"|\x1b[\]PX^_].*?(?:\x07|\x1b\\)"
    r"|\x1b[ -/]*[0-~]",
    re.DOTALL,
)
#: What moves to another place before something else is shown: as good as a carriage return.
_MOVES: Final = re.compile(r"\x1b\[[0-9;]*[ABDEFGHJKSTdf]")
_CONTROL: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_SECRET: Final = re.compile(
    r"pass ?(?:word|phrase|code)|passwd|secret|token|\bPIN\b|\b(?:api|private|access)[ _-]?key\b"
    r"|パスワード|パスフレーズ|パスコード|暗証番号|秘密|トークン",
    re.IGNORECASE,
)
_SHAPE: Final = re.compile(r"(?:[:?>#$%\])}＞：？」）】]|\b(?:y/n|yes/no))\s*$", re.IGNORECASE)


def is_secret(prompt: str) -> bool:
    """Return whether a prompt asks for a secret, by its words."""
    return _SECRET.search(prompt) is not None


def is_shaped(prompt: str) -> bool:
    """Return whether a line ends as prompts end."""
    return _SHAPE.search(prompt) is not None


class OutputEnd:
    """The ends of a run's two streams."""

    def __init__(self, directory: Path) -> None:
        self._streams = [directory / "stdout", directory / "stderr"]
        #: Sizes of the streams at the last question, and at the one before it.
        self._asked: tuple[int, ...] = (0, 0)
        self._asked_before: tuple[int, ...] = (0, 0)

    def question_at(self, sizes: tuple[int, ...]) -> None:
        """Take what was written before the last question for no part of the next prompt.

        An answer is not echoed into a file: two prompts without line ends stand side by side.
        """
        if sizes != self._asked:
            self._asked, self._asked_before = sizes, self._asked

    def sizes(self) -> tuple[int, ...]:
        """Return the bytes of each stream, 0 where the file is gone."""
        return tuple(0 if found is None else found.st_size for found in self._stats())

    def _stats(self) -> list[os.stat_result | None]:
        return [_stat(path) for path in self._streams]

    def prompt(self) -> tuple[str, bool]:
        """Return the prompt, and whether its line is unfinished."""
        written = [
            (found.st_mtime, path, start)
            for found, path, start in zip(
                self._stats(), self._streams, self._asked_before, strict=True
            )
            if found is not None and found.st_size
        ]
        if not written:
            return "", False
        latest = max(at for at, _, _ in written)
        ends = [(at, *last_line(_tail(path, start))) for at, path, start in written]
        candidates = [
            end for end in ends if end[0] == latest or (end[2] and latest - end[0] <= UNFINISHED_S)
        ]
        _, text, unfinished = max(candidates, key=lambda end: (end[2], end[0]))
        return text, unfinished


def last_line(text: str) -> tuple[str, bool]:
    """Return the last line with something in it as people see it, and whether it is unfinished."""
    plain = _SEQUENCES.sub("", _MOVES.sub("\r", text))
    lines = [_as_shown(line) for line in plain.split("\n")]
    unfinished = bool(lines[-1])
    for line in reversed(lines):
        if line:
            return line[-LONGEST_PROMPT:], unfinished
    return "", False


def _as_shown(line: str) -> str:
    """Return what is left of a line when carriage returns have overwritten its beginnings."""
    parts = [_CONTROL.sub("", part).strip() for part in line.split("\r")]
    return next((part for part in reversed(parts) if part), "")


def _tail(path: Path, start: int) -> str:
    try:
        descriptor = open_regular(path)
    except OSError:
        return ""
    with os.fdopen(descriptor, "rb") as file:
        file.seek(max(start, os.fstat(descriptor).st_size - TAIL_BYTES))
        return file.read(TAIL_BYTES).decode("utf-8", errors="replace")


def _stat(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except OSError:  # the script has removed it
        return None
