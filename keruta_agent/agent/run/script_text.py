"""Scripts as they were meant, where an editor of another system has stored them.

Windows ends lines with CR LF and begins files with a byte order mark. A shell takes the CR for
part of each command, and the mark for part of the first; some then do nothing and exit with 0.
"""

from __future__ import annotations

import dataclasses
import re
from typing import Final

from keruta_agent.core import errors

#: A byte order mark: as one character, and as its bytes look when they were read as Latin-1.
_MARKS: Final = ("\ufeff", "ï»¿")
#: Line ends of which each has a CR, also those that were converted twice.
_WINDOWS_END: Final = re.compile(r"\r+(\n|\Z)")
_BARE_END: Final = re.compile(r"(?<!\r)\n")
#: How batch files begin, and scripts of no shell.
_BATCH: Final = re.compile(r"\s*@echo\s+(?:off|on)\b", re.IGNORECASE)
#: Characters that are looked at for the zero bytes of UTF-16.
_HEAD: Final = 200
#: Programs to which a CR is part of a command.
SHELLS: Final = frozenset({"sh", "bash", "dash", "ash", "zsh", "ksh", "mksh", "busybox"})


@dataclasses.dataclass(frozen=True, kw_only=True)
class ScriptText:
    """The text that is run, and what was done to it, in words."""

    text: str
    notes: tuple[str, ...] = ()


def as_meant(text: str) -> ScriptText:
    """Return a script without the marks and line ends of another system.

    A script with line ends of both kinds is left as it is: its CRs may be meant, such as those of
    a here-document.

    Raises:
        RunError: it is in UTF-16, which no interpreter reads, or a batch file.
    """
    notes = []
    plain = text
    while plain.startswith(_MARKS):
        plain = plain.removeprefix(_MARKS[0]).removeprefix(_MARKS[1])
    if plain != text:
        notes.append("the script began with a byte order mark (BOM): it is run without it")
    if is_utf16(plain):
        raise errors.RunError(
            "the script is in UTF-16, which no interpreter reads", advice="Store it as UTF-8"
        )
    if _BATCH.match(plain):
        # A shell would stumble over this line, run on, and may well end with 0.
        raise errors.RunError(
            "the script is a batch file of Windows, which nothing here runs",
            advice="File it as a shell script",
        )
    if "\r" not in plain:
        return ScriptText(text=plain, notes=tuple(notes))
    if "\n" not in plain:
        if plain.startswith("#!") or plain.endswith("\r"):
            plain = _WINDOWS_END.sub(r"\1", plain).replace("\r", "\n")
            notes.append("the script's lines ended with CR alone: they end with LF now")
    elif not _BARE_END.search(plain):
        plain = _WINDOWS_END.sub(r"\1", plain)
        notes.append("the script had Windows line ends (CRLF): it is run without the CRs")
    elif count := len(re.findall(r"\r\n", plain)):
        notes.append(
            f"{count} lines of the script have Windows line ends (CRLF), the others have not: "
            "it is run as it is, and a shell takes a CR for part of the command"
        )
    return ScriptText(text=plain, notes=tuple(notes))


def is_utf16(text: str) -> bool:
    """Return whether every second character is a zero, as where UTF-16 was read as bytes."""
    head = text.lstrip("\ufffdÿþ")[:_HEAD]
    halves = (head[::2], head[1::2])
    return len(head) > 1 and any(half and not half.strip("\0") for half in halves)


def has_windows_ends(head: bytes) -> bool:
    """Return whether all lines of a file that begins so end with CR LF."""
    lines = head.split(b"\n")[:-1]
    return bool(lines) and all(line.endswith(b"\r") for line in lines)
