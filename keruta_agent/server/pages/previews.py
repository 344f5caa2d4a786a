"""Previews of artifacts: a file that a script wrote must never run in a page.

What a client called a file is not believed: only what its first bytes prove is served as such, and
everything that a browser could execute (HTML, SVG, scripts) is shown as text or saved.
"""

from __future__ import annotations

import dataclasses
from typing import Final

#: Bytes of a text that are shown; the whole is there to be saved.
MOST_TEXT: Final = 256 * 1024
#: Bytes that tell what a file is.
HEAD: Final = 4096
_IMAGES: Final = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)
PDF: Final = "application/pdf"
TEXT: Final = "text/plain"

#: Goes with each artifact: wherever it is opened, it has an origin of its own and reaches nothing.
POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox"
#: Browsers do not open their reader of PDF in a sandbox of a page; it is one itself.
PDF_POLICY: Final = "default-src 'none'; object-src 'self'; style-src 'unsafe-inline'"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Text:
    """The beginning of a text."""

    text: str
    is_cut: bool


def kind_of(beginning: bytes) -> str | None:
    """Return the type by which a file may be shown, None when it may only be saved."""
    head = beginning[:HEAD]
    for mark, kind in _IMAGES:
        if head.startswith(mark):
            return kind
    if head[:4] == b"RIFF" and head[8:12] == b"WEBP":
        return "image/webp"
    if head.startswith(b"%PDF-"):
        return PDF
    return TEXT if _is_text(head) else None


def text_of(beginning: bytes) -> Text:
    """Return what is shown of a text, of which one byte more was read if it has one.

    Bytes that are no UTF-8 become U+FFFD.
    """
    text = beginning[:MOST_TEXT].decode("utf-8", errors="replace")
    return Text(text=text, is_cut=len(beginning) > MOST_TEXT)


def _is_text(head: bytes) -> bool:
    if b"\0" in head:
        return False
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        # A character may be cut at the end of what was read.
        return len(head) == HEAD and error.start > HEAD - 4
    return True
