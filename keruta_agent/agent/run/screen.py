"""What a line of output looks like once a terminal has shown it.

Programs that draw progress bars go back with carriage returns and backspaces and write over what
stands there; others colour their text. A log wants the last state of such a line, as plain text,
or with its colours and nothing else: all other sequences can harm the terminal that shows them.
"""

from __future__ import annotations

import itertools
import re
from typing import Final

#: Bytes whose presence means that a text is to be rendered; C1 controls begin with 0xC2 in UTF-8.
_CONTROL_BYTES: Final = bytes(code for code in range(0x20) if code not in b"\t\n") + b"\x7f"
_C1_LEAD: Final = b"\xc2"
_CONTROL: Final = re.compile(r"[\x00-\x08\x0a-\x1f\x7f-\x9f]")
_TOKEN: Final = re.compile(
    r"(?P<text>[^\x00-\x08\x0a-\x1f\x7f-\x9f]+)"
    r"|\x1b\[(?P<numbers>[0-?]*)[ -/]*(?P<command>[@-~])"
    r"|\x1b[\]PX^_][^\x07\x1b]*(?:\x07|\x1b\\)"  # titles, links and the like, with their end
    r"|\x1b(?:[ -/]+[0-~]|[0-OQ-WYZ\\`-~])"
    r"|(?P<control>.)",
    re.DOTALL,
)
_COLOUR: Final = re.compile(r"[0-9;:]*")
_COLOURING: Final = re.compile(r"\x1b\[[0-9;:]*m")
_RESET: Final = "\x1b[0m"
_MOVING: Final = re.compile(r"[\b\x1b]")
#: Characters of colour sequences that a piece of text can have.
_LONGEST_STYLE: Final = 64
#: Column to which a cursor can be sent at most: each column costs a space.
_WIDEST: Final = 200
#: What a control character without an effect on a line becomes; of sounds nothing is to be seen.
_PICTURES: Final = {
    **{code: chr(0x2400 + code) for code in range(0x20) if chr(code) not in "\t\n\r"},
    0x7F: "\u2421",
    **dict.fromkeys(range(0x80, 0xA0), "\ufffd"),
    **dict.fromkeys(map(ord, "\x07\x0e\x0f"), ""),
}


def has_controls(data: bytes) -> bool:
    """Return quickly whether a text may need ``render``; a tab or a line end does not."""
    return len(data.translate(None, _CONTROL_BYTES)) != len(data) or _C1_LEAD in data


def render_lines(text: str, *, colours: bool = False) -> list[str]:
    """Return the lines of a text, each as ``render`` shows it."""
    lines = _plainer(text.replace("\r\n", "\n"), colours).split("\n")
    return [render(line, colours=colours) if _CONTROL.search(line) else line for line in lines]


def render(line: str, *, colours: bool = False) -> str:
    """Return the last state of one line; of its sequences only colours are left, if wanted.

    Control characters that have no effect on a line become visible signs, such as U+2400.
    """
    line = _plainer(line.rstrip("\r"), colours)
    if not _CONTROL.search(line):
        return line
    if _MOVING.search(line):
        return _Line(line).shown(colours=colours)
    return _overwritten(line.translate(_PICTURES).split("\r"))


def _plainer(text: str, colours: bool) -> str:
    """Drop colours that nobody wants: they are most of all sequences and move nothing."""
    if colours or "\x1b[" not in text:
        return text
    plain = _COLOURING.sub("", text)
    # The beginning of another sequence would swallow what has moved up to it.
    return text if "\x1b" in plain else plain


def _overwritten(states: list[str]) -> str:
    """Return what is left of texts that were written over each other, the last one on top."""
    shown = ""
    for state in reversed(states):
        if len(state) > len(shown):
            shown += state[len(shown) :]
    return shown if len(states) == 1 else shown.rstrip(" ")


class _Line:
    """One line of a terminal, while a program writes to it."""

    def __init__(self, line: str) -> None:
        self._marks: list[str] = []
        self._styles: list[str] = []
        self._column = 0
        self._style = ""
        self._was_rewritten = False
        for token in _TOKEN.finditer(line):
            if token["text"] is not None:
                self._write(token["text"])
            elif token["command"] is not None:
                self._obey(token["command"], token["numbers"])
            elif token["control"] is not None:
                self._control(token["control"])

    def shown(self, *, colours: bool) -> str:
        """Return the current line."""
        length = len(self._marks)
        while self._was_rewritten and length and self._marks[length - 1] == " ":
            length -= 1
        if not colours or not any(self._styles):
            return "".join(self._marks[:length])
        pieces = []
        cells = zip(self._marks[:length], self._styles, strict=False)
        for style, group in itertools.groupby(cells, key=lambda cell: cell[1]):
            text = "".join(mark for mark, _ in group)
            pieces.append(f"{style}{text}{_RESET}" if style else text)
        return "".join(pieces)

    def _write(self, text: str) -> None:
        self._column = min(self._column, max(len(self._marks), _WIDEST))
        missing = self._column - len(self._marks)
        if missing > 0:
            self._marks += " " * missing
            self._styles += [""] * missing
        end = self._column + len(text)
        self._marks[self._column : end] = text
        self._styles[self._column : end] = [self._style] * len(text)
        self._column = end

    def _control(self, mark: str) -> None:
        if mark == "\r":
            self._was_rewritten = True
            self._column = 0
        elif mark == "\b":
            self._go_to(self._column - 1)
        else:
            self._write(_PICTURES[ord(mark)])

    def _obey(self, command: str, numbers: str) -> None:
        if command == "m":
            self._colour(numbers)
        elif command in "JK":
            self._erase(numbers)
        elif command in "CDG":
            number = int(numbers[:4]) if numbers.isdecimal() and numbers.isascii() else 1
            steps = {"C": self._column + number, "D": self._column - number, "G": number - 1}
            self._go_to(steps[command])

    def _go_to(self, column: int) -> None:
        self._was_rewritten = self._was_rewritten or column < self._column
        self._column = max(0, column)

    def _erase(self, numbers: str) -> None:
        self._was_rewritten = self._was_rewritten or self._column < len(self._marks)
        if numbers in ("", "0"):
            del self._marks[self._column :], self._styles[self._column :]
        elif numbers == "2":
            self._marks.clear()
            self._styles.clear()

    def _colour(self, numbers: str) -> None:
        if not _COLOUR.fullmatch(numbers):
            return
        if numbers.strip("0") == "":
            self._style = ""
            return
        added = f"\x1b[{numbers}m"
        kept = "" if numbers.startswith("0;") else self._style
        if added in kept or len(added) > _LONGEST_STYLE:
            return
        whole = kept + added
        self._style = whole if len(whole) <= _LONGEST_STYLE else added
