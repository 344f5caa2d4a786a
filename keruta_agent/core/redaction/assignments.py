"""Values that are given to clearly secret names in a text: ``password=...``, ``"token": "..."``.

Logs speak about tokens and keys all the time ("unexpected token: identifier"), so a value has to
look like one: it is no word, path, number, version, code or placeholder.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterator
from typing import Final

from keruta_agent.core.redaction import names, values

Span = tuple[int, int]

_LONGEST_NAME: Final = 64
#: Characters of a value: what is shorter is no secret. A password may be as short as its user
#: liked, and its name is beyond doubt; of all others there is much talk in logs.
_SHORTEST_PASSWORD: Final = 4
_SHORTEST: Final = 6
#: From here on a value of letters and digits counts wherever its name is followed by a colon.
_LONG: Final = 8
_LONGEST_QUOTED: Final = 512


def _value_of(shortest: int) -> bytes:
    """Return a pattern for a value: all that is in quotes, or up to a blank or a separator.

    The next parameter of a form separates, any other & is a part of the value.
    """
    least = max(0, shortest - 1)
    bare = rb"[^\s\"'`\\,;&|()\[\]{}<>]"
    more = rb"&(?![\w.%\[\]-]{1,40}+=)" + bare + rb"++"
    plain = rb"[^\"'`\\\r\n]{%d,%d}+" % (shortest, _LONGEST_QUOTED)
    escaped = rb"(?:(?!(?P=quote))(?:\\[^\r\n]|[^\r\n])){%d,%d}+" % (shortest, _LONGEST_QUOTED)
    return (
        rb"(?:(?P<quote>\\{0,3}[\"'`])"
        rb"(?P<quoted>" + plain + rb"(?=(?P=quote))|" + escaped + rb"(?=(?P=quote)))"
        rb"|\\{0,3}[\"'`]?(?P<bare>(?:"
        + (bare + rb"{%d,}+|" % shortest + bare + rb"{1,%d}+" % least + more)
        + rb")(?:"
        + more
        + rb")*+)(?![(\[{<]))"
    )


#: The lines of a block of YAML, and the text of an XML element: what gives the value is a part.
_BLOCK: Final = (
    rb"[|>][+-]?[ \t]{0,8}+\r?\n(?P<indent>[ \t]{1,40}+)"
    rb"(?P<block>[^\r\n]{4,512}+(?:\r?\n(?P=indent)[^\r\n]{1,512}+){0,32}+)"
)
_ELEMENT: Final = rb">(?P<element>[^<>\r\n]{4,512}+)</"
#: From a telling word on: the rest of the name, what gives the value, the value. For text in small
#: letters.
_ASSIGNED: Final = tuple(
    re.compile(
        word + rb"(?P<rest>[\w.-]{0,40}+)(?:(?P<end>\\{0,3}[\"']?)"
        rb"(?P<sign>[ \t]{0,8}+(?:=>|:=|=(?!=)|:(?!:)|\xef\xbc[\x9a\x9d])[ \t]{0,8}+)"
        rb"(?:" + _value_of(shortest) + rb"|" + _BLOCK + rb")|" + _ELEMENT + rb")"
    )
    for word, shortest in (
        (rb"pass(?:w|phrase)", _SHORTEST_PASSWORD),
        (rb"pwd", _SHORTEST_PASSWORD),
        (rb"token", _SHORTEST),
        (rb"secret", _SHORTEST),
        (rb"credential", _SHORTEST),
        (rb"auth", _LONG),
        (rb"key", _SHORTEST),
    )
)
#: An option may have its value behind a blank, or as the next of a list.
_OPTION: Final = re.compile(
    rb"--(?!-)(?=[\w.-]{0,60}?(?:pass|pwd|token|secret|credential|auth|key))"
    rb"(?P<rest>[\w.-]{2,60}+)(?P<end>[\"']?)(?P<sign> ++|, ?)" + _value_of(_SHORTEST_PASSWORD)
)
#: A name and a value as two fields: the variables of a container, the settings of an application.
_PAIR_VALUE: Final = re.compile(
    rb"value(?P<end>\\{0,3}[\"']?)(?P<sign>[ \t]{0,8}+[:=][ \t]{0,8}+)"
    + _value_of(_SHORTEST_PASSWORD)
)
_PAIR_NAME: Final = re.compile(
    rb"\b(?:name|key)\\{0,3}[\"']?[ \t]{0,8}[:=][ \t]{0,8}\\{0,3}[\"']?(?P<name>[\w.-]{3,64})"
    rb"\\{0,3}[\"']?[ \t]{0,8},?(?:\s|\\n){0,40}\\{0,3}[\"']?\Z",
    re.IGNORECASE,
)
_LONGEST_PAIR: Final = 160
#: The same in Japanese; a value in that language is a sentence.
_JAPANESE: Final = tuple(
    (
        name.encode(),
        re.compile(
            name.encode() + rb"[\"']?[ \t]{0,8}(?:[:=]|\xef\xbc[\x9a\x9d])[ \t]{0,8}[\"'`]?"
            rb"(?P<value>[!#-&(-_a-~]{4,200}+)(?![\x80-\xff])"
        ),
    )
    for name in (
        *("パスワード", "暗証番号", "トークン", "APIキー", "アクセスキー"),
        *("秘密鍵", "シークレット", "シークレットキー"),
    )
)
#: What stands between a name and a value in a setting, and not in a sentence.
_TIGHT: Final = frozenset({b"=", b":=", b" ", b", ", b","})
#: What a field holds that has no password.
_NOTHING: Final = frozenset({"none", "null", "undefined", "true", "false"})
#: A line without its indentation.
_TEXT: Final = re.compile(rb"[^ \t\r\n][^\r\n]*+")
_IN_NAMES: Final = (string.ascii_letters + string.digits + "_.-").encode()

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
    | (?:bearer|basic|digest|token|apikey|bot)\ # headers are found by shape
    | [\w$]*[a-z_$][\w$]*(?:\.[a-z_$][\w$]*)+:?\Z       # code: settings.TOKEN_2
    | [\w./@+\-]+\.(?:json|ya?ml|toml|txt|ini|cfg|conf|env|pem|crt|cer|key|pub|py|js|ts|go|rs|c|h
        |cc|cpp|hpp|java|rb|sh|md|html?|css|lock|log|gz|zip|whl|jar|so|o|d|db|sqlite)[:,.]?\d*\Z
    """,
    re.VERBOSE | re.IGNORECASE,
)
_WORDS: Final = re.compile(r"[A-Za-z]+(?:[-_.:/ ]+[A-Za-z]+)*[.:!?]?")


def spans(data: bytes, lowered: bytes) -> Iterator[Span]:
    """Yield the spans of values with secret names, in no order; ``lowered`` is ``data.lower()``."""
    for pattern in _ASSIGNED:
        for found in pattern.finditer(lowered):
            yield from _value(found, _name(data, found.start(), found.end("rest")), data)
    for found in _OPTION.finditer(lowered):
        yield from _value(found, data[slice(*found.span("rest"))].decode("ascii", "replace"), data)
    for found in _PAIR_VALUE.finditer(lowered):
        before = data[max(0, found.start() - _LONGEST_PAIR) : found.start()]
        if (named := _PAIR_NAME.search(before)) is not None:
            yield from _value(found, named["name"].decode("ascii", "replace"), data)
    if not data.isascii():
        yield from _japanese(data)


def _japanese(data: bytes) -> Iterator[Span]:
    for name, pattern in _JAPANESE:
        for found in pattern.finditer(data) if name in data else ():
            if _is_secret("password", found["value"].decode("ascii"), is_setting=True):
                yield found.span("value")


def _value(found: re.Match[bytes], name: str, data: bytes) -> Iterator[Span]:
    if not names.is_clearly_secret_name(name):
        return
    kind = found.lastgroup or "bare"  # the value is the last group of each pattern
    value = data[slice(*found.span(kind))].decode("utf-8", "replace")
    # "password: incorrect" is a sentence, password=incorrect a setting.
    is_setting = kind != "bare" or bool(found["end"]) or found["sign"] in _TIGHT
    if _is_secret(name, value, is_setting=is_setting):
        for line in _TEXT.finditer(data, *found.span(kind)):
            yield line.span()


def is_secret_value(name: str, value: str) -> bool:
    """Return whether the value of a field with a secret name is a secret, and no placeholder."""
    if names.is_password_name(name):
        return bool(value) and value.casefold() not in _NOTHING and not _PLACEHOLDER.match(value)
    return _is_secret(name, value, is_setting=True)


def _name(data: bytes, start: int, end: int) -> str:
    before = data[max(0, start - _LONGEST_NAME) : start]
    other = before.rstrip(_IN_NAMES)
    # A path has no value behind it, but a line number: src/token.c:12
    if other.endswith((b"/", b"\\")):
        return ""
    return data[start - len(before) + len(other) : end].decode("ascii", "replace")


def _is_secret(name: str, value: str, *, is_setting: bool) -> bool:
    if value.casefold() in values.COMMON or len(set(value)) < 3 or _PLACEHOLDER.match(value):
        return False
    is_password = names.is_password_name(name)
    if is_password and is_setting and value.isdigit():
        return True
    if _NOT_SECRET.match(value):
        return False
    if _WORDS.fullmatch(value):
        # A password may be a word, but password=db_password is code, and "your password" a label.
        is_word = is_password and is_setting and " " not in value and len(value) >= _LONG
        return is_word and not names.is_secret_name(value)
    if len(value) >= _LONG or (is_password and is_setting):
        return True
    return len(value) >= _SHORTEST and (is_password or is_setting) and _has_digit_and_letter(value)


def _has_digit_and_letter(value: str) -> bool:
    return any(map(str.isdigit, value)) and any(map(str.isalpha, value))
