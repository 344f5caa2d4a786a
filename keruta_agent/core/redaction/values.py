"""Which values are worth masking, and which parts of a value are secrets of their own.

A value that is short or common must not be masked: it would tear holes into words that have nothing
to do with it.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote


def _set_of(words: str) -> frozenset[str]:
    return frozenset(words.split())


SHORTEST: Final = 6
#: A line or a JSON leaf is only a part of a secret: shorter ones stand elsewhere by chance.
_SHORTEST_PART: Final = 8
_SHORTEST_NUMBER: Final = 8
_LONGEST_WORD: Final = 7
_DEEPEST_JSON: Final = 32

#: Values of secret names that are none.
COMMON: Final = _set_of(
    "password passwd passphrase changeme changeit secret secrets token tokens default example "
    "localhost postgres postgresql username undefined disabled enabled required optional "
    "anonymous production development staging testing integration placeholder redacted "
    "administrator service_account authorized_user googleapis.com 127.0.0.1 0.0.0.0 "
    "[redacted] <redacted> keychain osxkeychain credentials authorization your-token "
    "your_token"
)
_WORD: Final = re.compile(r"[a-z]+|[A-Z][a-z]+|[A-Z]+")
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://[^\s]*")
_URL_PASSWORD: Final = re.compile(r"://[^\s:/@\"'<>\\]*+:([^\s/\"'<>\\]+)@")
_PATH: Final = re.compile(r"(?:~|\.{1,2})?/[\w.@%+~-]*(?:/[\w.@%+~-]*)*|[A-Za-z]:\\[\w\\ .-]*")
_RANDOM_PART: Final = re.compile(r"(?=\w*[a-z])(?=\w*[A-Z])(?=\w*[0-9])\w{16}")
_MARKER: Final = re.compile(r"-----(?:BEGIN|END) [A-Z0-9 ]+-----")
_NAMED: Final = re.compile(r"[\w.-]+[ \t]*[:=][ \t]*([^=\s].*)")


def worth_masking(value: str) -> bool:
    """Return whether a value is long and unusual enough to be masked everywhere."""
    value = value.strip()
    if len(value) < SHORTEST or len(set(value)) < 3 or value.casefold() in COMMON:
        return False
    if value.isdigit() and len(value) < _SHORTEST_NUMBER:
        return False
    if len(value) <= _LONGEST_WORD and _WORD.fullmatch(value):
        return False
    return not (_is_path(value) or _URL.fullmatch(value))


def parts(value: str) -> Iterator[str]:
    """Yield what must be masked of a secret: it as a whole, its lines, the strings of its JSON."""
    value = value.strip()
    leaves = _json_leaves(value)
    if leaves is not None:
        for leaf in leaves:
            if len(leaf.strip()) >= _SHORTEST_PART:
                yield from _plain_parts(leaf)
        return
    yield from _plain_parts(value)


def url_passwords(value: str) -> Iterator[str]:
    """Yield the passwords of the URLs in a value, as they stand and percent-decoded."""
    for found in _URL_PASSWORD.finditer(value):
        yield found[1]
        yield unquote(found[1])


def _plain_parts(value: str) -> Iterator[str]:
    value = value.strip()
    if worth_masking(value):
        yield value
    lines = value.splitlines()
    if len(lines) < 2:
        return
    for line in lines:
        named = _NAMED.fullmatch(line.strip())
        part = (named[1] if named else line).strip().strip("\"',")
        if len(part) >= _SHORTEST_PART and not _MARKER.fullmatch(part) and worth_masking(part):
            yield part


def _json_leaves(value: str) -> list[str] | None:
    """Return the strings in a JSON object or array; None if the value is none."""
    if not value.startswith(("{", "[")):
        return None
    try:
        document = json.loads(value)
    except (ValueError, RecursionError):
        return None
    return list(_strings(document, _DEEPEST_JSON))


def _strings(document: object, depth: int) -> Iterator[str]:
    if isinstance(document, str):
        yield document
    elif depth and isinstance(document, dict | list):
        for item in document.values() if isinstance(document, dict) else document:
            yield from _strings(item, depth - 1)


def _is_path(value: str) -> bool:
    # Base64 may begin with a slash: a path has no long part of mixed letters and digits.
    return _PATH.fullmatch(value) is not None and _RANDOM_PART.search(value) is None
