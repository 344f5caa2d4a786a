"""Passwords that programs take as arguments, and those of a .netrc file.

``-p`` means a port to one program and a password to another, so what stands before it decides.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from keruta_agent.core.redaction.values import COMMON

Span = tuple[int, int]

_VALUE: Final = (
    rb"(?:(?P<mark>[\"'])(?P<quoted>[^\r\n\"']{3,200}+)(?P=mark)|(?P<bare>[^\s\"']{3,200}+))"
)
#: An option that some program takes a password with.
_OPTION: Final = re.compile(
    rb" -(?P<name>p(?:ass(?:in|out)?[ \t]++pass:)?|a[ \t]|w|(?:u|U|-user|-proxy-user)(?=[ =\"'\w]))"
    rb"[ \t=]*+(?P<user>[\"']?[^\s:\"']{1,99}+:)?" + _VALUE
)
#: By the first letter of the option: the command line before it.
_COMMANDS: Final = {
    ord("p"): re.compile(
        rb"\b(?:sshpass|(?:mysql|mariadb)[\w-]*|openssl [^|;&]*|"
        rb"(?:docker|podman|buildah|skopeo|nerdctl|oras|az|registry) login\b[^|;&]*)\b[^|;&]*\Z"
    ),
    ord("a"): re.compile(rb"\bredis-cli\b[^|;&]*\Z"),
    ord("w"): re.compile(rb"\bldap[a-z]+\b[^|;&]*\Z"),
    ord("u"): re.compile(rb"\bcurl\b[^|;&]*\Z"),
}
#: Bytes of a command before the option.
_LONGEST_COMMAND: Final = 200
#: A value behind the word, as a .netrc has it, in one line with its machine or in one of its own.
_PASSWORD: Final = re.compile(rb"password[ \t\r\n]++(?P<value>[^\s\"']{4,200}+)")
_LOGIN: Final = re.compile(rb"\blogin\s+\S+\s+(?:account\s+\S+\s+)?\Z")
#: With its machine it is a .netrc beyond doubt, and a password may be a word.
_MACHINE: Final = re.compile(rb"(?:\bmachine\s+\S+|\bdefault)\s+login\s+\S+\s+\Z")
_LINE_BEGIN: Final = re.compile(rb"(?:^|[\r\n])[ \t]*\Z")
_LINE_END: Final = re.compile(rb"[ \t]*(?:[\r\n]|\Z)")


def spans(data: bytes) -> Iterator[Span]:
    """Yield the spans of such passwords, in no order."""
    for found in _OPTION.finditer(data):
        kind = "bare" if found["quoted"] is None else "quoted"
        if _takes_password(found, data) and _is_password(found[kind]):
            yield found.span(kind)
    for found in _PASSWORD.finditer(data):
        is_word = found["value"].isalpha() and _is_behind_machine(found, data)
        if is_word or (_is_of_netrc(found, data) and _is_password(found["value"])):
            yield found.span("value")


def _takes_password(found: re.Match[bytes], data: bytes) -> bool:
    letter = found["name"].lstrip(b"-").lower()[0]
    command = _COMMANDS.get(letter)
    # The password of curl's -u stands behind a colon; -p has a command of its own for each form.
    if command is None or (letter == ord("u")) != (found["user"] is not None):
        return False
    line = data[max(0, found.start() - _LONGEST_COMMAND) : found.start()]
    return command.search(line.rpartition(b"\n")[2]) is not None


def _is_of_netrc(found: re.Match[bytes], data: bytes) -> bool:
    before = data[max(0, found.start() - _LONGEST_COMMAND) : found.start()]
    if _LOGIN.search(before):
        return True
    is_line = _LINE_BEGIN.search(before) and _LINE_END.match(data, found.end())
    return is_line is not None and any(48 <= byte <= 57 for byte in found["value"])


def _is_behind_machine(found: re.Match[bytes], data: bytes) -> bool:
    return (
        _MACHINE.search(data[max(0, found.start() - _LONGEST_COMMAND) : found.start()]) is not None
    )


def _is_password(value: bytes) -> bool:
    if value.startswith((b"$", b"{", b"<", b"%", b"*")) or value.isalpha() or value.isdigit():
        return False  # a placeholder, a word of a sentence, a number
    return value.decode("utf-8", "replace").casefold() not in COMMON
