"""Values that are given to clearly secret names in a text: ``password=...``, ``"token": "..."``.

Logs speak about tokens and keys all the time ("unexpected token: identifier"), so a value has to
look like one: it is no word, path, number, version, code or placeholder.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from keruta_agent.observe.secrets import names, values

Span = tuple[int, int]

_SHORTEST: Final = 8
_LONGEST_NAME: Final = 64

_VALUE: Final = (
    rb"(?:\\{0,3}(?P<quote>[\"'`])(?P<quoted>[^\s\"'`\\]{8,}+)"
    rb"|(?P<bare>[^\s\"'`\\,;&|()\[\]{}<>]{8,}+)(?![(\[{<]))"
)
#: From a telling word on: the rest of the name, what gives the value, the value. For text in small
#: letters.
_ASSIGNED: Final = tuple(
    re.compile(
        word + rb"(?P<rest>[\w.-]{0,40}+)\\{0,3}[\"']?"
        rb"(?P<sign>[ \t]{0,8}+(?:=>|:=|=(?!=)|:(?!:))[ \t]{0,8}+)" + _VALUE
    )
    for word in (
        rb"token",
        rb"secret",
        rb"passw",
        rb"passphrase",
        rb"credential",
        rb"auth",
        rb"key",
    )
)
#: An option may have its value behind a blank.
_OPTION: Final = re.compile(rb"--(?!-)(?P<rest>[\w.-]{2,60}+)(?P<sign> +)" + _VALUE)
_NAME_BEFORE: Final = re.compile(rb"[\w.-]*+")

_PLACEHOLDER: Final = re.compile(
    r"""[$%{<(\[]                          # of a shell, a template, a manual
    | .*\*\*\*                             # masked already
    | [x*.\-_#]+\Z
    | (?:your|my|the|some|insert|enter)[-_]
    | [\w-]*(?:redacted|placeholder|changeme|example)[\w-]*\Z
    """,
    re.VERBOSE | re.IGNORECASE,
)
_NOT_SECRET: Final = re.compile(
    r"""[\d.,:+\-/e%]+[kmgt]?b?s?\Z        # numbers, times, dates
    | 0x[0-9a-f]+\Z                        # addresses
    | [\^~<>=v]*\d+(?:\.\d+)+[\w.+\-]*\Z   # versions
    | sha\d+[:\-]                          # digests
    | [a-z][a-z0-9+.\-]*://                # URLs: their passwords are found by shape
    | (?:~|\.{1,2})?/[\w.@%+~\-]+(?:/[\w.@%+~\-]*)*\Z   # paths
    | [a-z]:\\
    | [\w$]*[a-z_$][\w$]*(?:\.[a-z_$][\w$]*)+:?\Z       # code: settings.TOKEN_2
    | [\w./@+\-]+\.(?:json|ya?ml|toml|txt|ini|cfg|conf|env|pem|crt|cer|key|pub|py|js|ts|go|rs|c|h
        |cc|cpp|hpp|java|rb|sh|md|html?|css|lock|log|gz|zip|whl|jar|so|o|d|db|sqlite)[:,.]?\d*\Z
    """,
    re.VERBOSE | re.IGNORECASE,
)
_WORDS: Final = re.compile(r"[A-Za-z]+(?:[-_.:/][A-Za-z]+)*[.:!?]?")


def spans(data: bytes, lowered: bytes) -> Iterator[Span]:
    """Yields where values of secret names stand, in no order; ``lowered`` is ``data.lower()``."""
    for pattern in _ASSIGNED:
        for found in pattern.finditer(lowered):
            yield from _value(found, _name(data, found.start(), found.end("rest")), data)
    for found in _OPTION.finditer(data):
        yield from _value(found, found["rest"].decode("ascii", "replace"), data)


def _value(found: re.Match[bytes], name: str, data: bytes) -> Iterator[Span]:
    if not names.is_clearly_secret_name(name):
        return
    kind = "bare" if found["quoted"] is None else "quoted"
    value = data[slice(*found.span(kind))].decode("utf-8", "replace")
    # "password: incorrect" is a sentence, password=incorrect a setting.
    tight = kind == "quoted" or found["sign"] in (b"=", b":=", b" ")
    if _is_secret(name, value, tight=tight):
        yield found.span(kind)


def is_secret_value(value: str) -> bool:
    """Returns whether the value of a secret name is a secret, and no placeholder or the like."""
    return len(value) >= _SHORTEST and _is_secret("", value, tight=True)


def _name(data: bytes, start: int, end: int) -> str:
    before = data[max(0, start - _LONGEST_NAME) : start][::-1]
    found = _NAME_BEFORE.match(before)
    length = found.end() if found else 0
    # A path has no value behind it, but a line number: src/token.c:12
    is_path = before[length : length + 1] in (b"/", b"\\")
    return "" if is_path else data[start - length : end].decode("ascii", "replace")


def _is_secret(name: str, value: str, *, tight: bool) -> bool:
    if value.casefold() in values.COMMON or len(set(value)) < 3 or _PLACEHOLDER.match(value):
        return False
    is_password = "passw" in name.casefold() or not name
    if is_password and tight and value.isdigit():
        return True
    if _NOT_SECRET.match(value):
        return False
    if _WORDS.fullmatch(value):
        # A password may be a word, but password=db_password is code.
        return is_password and tight and not names.is_secret_name(value)
    return True
