"""Names and texts made visible: some characters turn or blank the line in which they stand.

A file called ``report``, U+202E, ``fdp.exe`` reads as ``reportexe.pdf``. ``visible.js`` does the
same in the browser.
"""

from __future__ import annotations

import re
from typing import Final

#: Controls but tab and line ends, and what sets the direction of text or takes no room.
_HIDDEN: Final = re.compile(
    r"\r(?!\n)|"
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff]"
)
_UNITS: Final = ("B", "kB", "MB", "GB")


def visible(text: object) -> str:
    """Return a text with each hidden character written out, so that none reorders the others."""
    return _HIDDEN.sub(lambda found: f"⟨U+{ord(found[0]):04X}⟩", str(text))


def size(count: float) -> str:
    """Return a number of bytes in words that every language has."""
    unit = 0
    while count >= 1000 and unit < len(_UNITS) - 1:
        count /= 1000
        unit += 1
    return f"{count:.{1 if unit else 0}f} {_UNITS[unit]}"
