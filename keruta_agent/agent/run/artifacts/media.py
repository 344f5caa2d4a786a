"""What kind of content a file holds, by its first bytes and by its name."""

from __future__ import annotations

import codecs
import mimetypes
import os
from typing import Final

#: Bytes at the beginning that are looked at.
HEAD_BYTES: Final = 4096
#: Marks of four bytes and more are believed; shorter ones occur in any text ("BM", "{").
_SURE: Final = 0.4
TEXT: Final = "text/plain"
UNKNOWN: Final = "application/octet-stream"


def content_type(descriptor: int, name: str) -> str:
    """Return the MIME type of an open file: by its content, else by its name, else text or not."""
    head = os.pread(descriptor, HEAD_BYTES, 0)
    guessed, encoding = mimetypes.guess_type(name.rpartition("/")[2])
    by_name = guessed if encoding is None else None  # x.tar.gz holds gzip, not tar
    by_content = _by_content(head)
    if by_name in by_content:
        return by_name
    is_text = _is_text(head)
    for kind, confidence in by_content.items():
        if confidence >= _SURE or not (is_text or by_name):
            return kind
    return by_name or (TEXT if is_text else UNKNOWN)


def _by_content(head: bytes) -> dict[str, float]:
    """Return what the first bytes may be, the surest first."""
    import puremagic  # a megabyte of tables, for who has artifacts

    try:
        found = puremagic.magic_string(head)
    except (ValueError, LookupError):  # empty, or nothing that it knows
        return {}
    kinds: dict[str, float] = {}
    for match in found:
        if match.mime_type:
            kinds.setdefault(match.mime_type, float(match.confidence))
    return kinds


def _is_text(head: bytes) -> bool:
    try:
        # A character may be cut at the end of what was read.
        codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return False
    return b"\0" not in head
