"""Substitution of values in shell commands, quoted so that no value is read as a command.

A value is not pasted into the text: it becomes a variable of the command's environment, and
``${name}`` a reference to that. Whatever stands in it, ``$(...)`` or quotes, the shell takes it for
what it is, also where this module should misread the quotes around it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

PREFIX: Final = "PLAYBOOK_"
_REFERENCE: Final = re.compile(r"\$\{([^\W\d][\w.-]*)\}")
#: What a variable of the environment can hold.
_LONGEST: Final = 100_000


def substituted(command: str, values: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """Return the command and the variables that it needs; unknown names stay as they are."""
    variables: dict[str, str] = {}
    pieces: list[str] = []
    position = 0
    quote = ""
    for found in _REFERENCE.finditer(command):
        name = found[1]
        between = command[position : found.start()]
        quote = _quote_after(between, quote)
        position = found.end()
        if name not in values:
            pieces += [between, found[0]]
            continue
        # The number tells apart what is the same without its special characters.
        plain = re.sub(r"[^A-Za-z0-9_]", "_", name)
        variable = f"{PREFIX}{list(values).index(name)}_{plain}"
        variables[variable] = _text(values[name])
        reference = f"${{{variable}}}"
        # Out of single quotes, into double ones, and back.
        around = {'"': "", "'": "'\"", "": '"'}[quote]
        pieces += [between, around, reference, around[::-1]]
    return "".join([*pieces, command[position:]]), variables


def _quote_after(text: str, quote: str) -> str:
    """Return the quote that is open after a text, which began inside of ``quote``."""
    characters = iter(text)
    for character in characters:
        if character == "\\" and quote != "'":
            next(characters, None)
        elif not quote and character in "'\"":
            quote = character
        elif character == quote:
            quote = ""
    return quote


def _text(value: Any) -> str:
    text = str(value).lower() if isinstance(value, bool) else "" if value is None else str(value)
    return text.replace("\0", "")[:_LONGEST]
