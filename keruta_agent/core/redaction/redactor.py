"""The one redactor, used at every exit: no secret leaves the agent in a text.

It knows secrets by their values (in many forms: URL-encoded, base64, JSON-escaped, ...), by their
patterns (tokens, headers, private keys), and by the names that they are given to. It says *where*
they stand, so that a window of a growing file can be masked with its neighbours in sight.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

from keruta_agent.core.redaction import (
    arguments,
    assignments,
    escapes,
    forms,
    names,
    token_patterns,
    values,
)
from keruta_agent.core.redaction.search import Search, Span

MASK: Final = "***"
_DEEPEST_VALUE: Final = 64
#: Fields of which one names what the other holds.
_PAIR: Final = (("name", "value"), ("Name", "Value"), ("key", "value"), ("Key", "Value"))
#: The bytes of UTF-8 that do not begin a character.
_CONTINUATION: Final = bytes(range(0x80, 0xC0))
_LINE: Final = re.compile(rb"[^\r\n]+")


class Redactor:
    """The masker of secrets in text; immutable, and safe to share between threads."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        """Take secrets; those that are too short or too common to be masked are left out."""
        self._search = Search(_needles(secrets))

    @classmethod
    def from_environment(
        cls, *environments: Mapping[str, str], also: Iterable[str] = ()
    ) -> Redactor:
        """Return one that knows the secrets among variables, by their names or in their URLs."""
        found = [secret for environment in environments for secret in cls.secrets_in(environment)]
        return cls([*also, *found])

    @staticmethod
    def secrets_in(environment: Mapping[str, str]) -> list[str]:
        """Return the secrets among variables: by their names, and the passwords in URLs."""
        secrets = []
        for name, value in environment.items():
            if names.is_secret_name(name):
                secrets.append(value)
            secrets.extend(values.url_passwords(value))
        return secrets

    def with_secrets(self, more: Iterable[str]) -> Redactor:
        """Return one that knows these secrets too."""
        new = Redactor()
        new._search = Search(self._search.needles.union(_needles(more)))
        return new

    @property
    def reach(self) -> int:
        """How many characters before and after a window suffice for ``redact_window``."""
        return max(token_patterns.LONGEST_BLOCK, 2 * self._search.longest)

    def spans(self, text: str) -> list[Span]:
        """Return the ranges of characters to be masked: sorted, apart, none across a line break.

        A text keeps its lines: what is secret in several lines is one range in each.
        """
        data = text.encode("utf-8", "surrogatepass")
        found = self._found(data)
        if any(begin in data for begin in escapes.BEGINS):
            plain = escapes.Plain(data)
            found += map(plain.original, self._found(plain.data))
        if not found:
            return []
        return _in_characters(_by_line(_merged(found), data), data, is_ascii=text.isascii())

    def _found(self, data: bytes) -> list[Span]:
        lowered = data.lower()
        found = self._search.spans(data)
        found.extend(token_patterns.spans(data, lowered))
        found.extend(assignments.spans(data, lowered))
        found.extend(arguments.spans(data))
        return found

    def knows_secret_in(self, data: bytes) -> bool:
        """Return whether bytes hold a secret that is known by its value, in any of its forms."""
        return bool(self._search.spans(data))

    def redact(self, text: str) -> str:
        """Return the text with its secrets masked."""
        return _masked(text, self.spans(text), 0, len(text))

    def redact_window(self, before: str, text: str, after: str) -> str:
        """Return ``text`` masked, also where a secret or key block crosses its bounds.

        Without ``after`` the end of the text may be half a secret, which nobody can know: hold
        back an unfinished line.
        """
        spans = self.spans(before + text + after)
        return _masked(before + text, spans, len(before), len(before) + len(text))

    def redact_value(self, value: object) -> object:
        """Return a JSON-like value with the secrets in it masked; names stay.

        What is nested too deeply for a sane document is masked as a whole.
        """
        return _Values(self, masks_names=False).redacted(value, _DEEPEST_VALUE)

    def redact_object(self, fields: Mapping[str, Any]) -> Mapping[str, Any]:
        """Return foreign names and values with the secrets masked in both."""
        return _Values(self, masks_names=True).mapping(fields, _DEEPEST_VALUE)

    def __repr__(self) -> str:
        return f"<Redactor of {len(self._search.needles)} strings>"


class _Values:
    """The masker of JSON-like values."""

    def __init__(self, redactor: Redactor, *, masks_names: bool) -> None:
        self._redactor = redactor
        self._masks_names = masks_names

    def redacted(self, value: object, depth: int) -> object:
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, Mapping | list | tuple):
            if not depth:
                return MASK
            if isinstance(value, Mapping):
                return self.mapping(value, depth)
            return self._list(value, depth - 1)
        text = value if isinstance(value, str) else str(value)
        redacted = self._redactor.redact(text)
        return value if redacted == text else redacted

    def mapping(self, fields: Mapping[Any, Any], depth: int) -> dict[Any, Any]:
        shown = dict(self._item(name, value, depth) for name, value in fields.items())
        for name, value in _PAIR:  # the variables of a container, and their like
            if _is_named_secret(fields.get(name, ""), fields.get(value)):
                shown[value] = MASK
        return shown

    def _item(self, name: object, value: object, depth: int) -> tuple[object, object]:
        if self._masks_names and isinstance(name, str) and isinstance(value, str):
            # As one text: "$SECRET" passed as NAME=VALUE is cut in two at its first "=".
            text = f"{name}={value}"
            spans = self._redactor.spans(text)
            shown: object = _masked(text, spans, len(name) + 1, len(text))
            name_shown: object = _masked(text, spans, 0, len(name))
        else:
            shown = self.redacted(value, depth - 1)
            name_shown = self.redacted(name, 1) if self._masks_names else name
        return name_shown, MASK if _is_named_secret(name, value) else shown

    def _list(self, values: Sequence[object], depth: int) -> list[object]:
        """Return a list redacted; the argument behind ``--password`` is a secret too."""
        before = [None, *values]
        return [
            MASK
            if _is_option(option) and _is_named_secret(option, value)
            else self.redacted(value, depth)
            for option, value in zip(before, values, strict=False)
        ]


def mask_named(value: Any) -> Any:
    """Return a JSON-like value with those texts masked whose names say that they are secret.

    This is what is left to do for a value that was read from a text after the text was masked.
    """
    if isinstance(value, Mapping):
        return {
            key: MASK if _is_named_secret(key, item) else mask_named(item)
            for key, item in value.items()
        }
    return [mask_named(item) for item in value] if isinstance(value, list) else value


def _is_named_secret(key: object, value: object) -> bool:
    if isinstance(value, bool) or not isinstance(value, str | int):
        return False
    return names.is_clearly_secret_name(str(key)) and assignments.is_secret_value(
        str(key), str(value)
    )


def _is_option(value: object) -> bool:
    return isinstance(value, str) and value.startswith("--") and "=" not in value


def _needles(secrets: Iterable[str]) -> Iterator[bytes]:
    for part in {part for secret in secrets for part in values.parts(secret)}:
        yield from forms.forms(part)


def _merged(spans: list[Span]) -> list[Span]:
    spans.sort()
    merged = [spans[0]]
    for start, end in spans[1:]:
        last_start, last_end = merged[-1]
        if start <= last_end:
            merged[-1] = (last_start, max(last_end, end))
        else:
            merged.append((start, end))
    return merged


def _by_line(spans: list[Span], data: bytes) -> Iterator[Span]:
    for start, end in spans:
        for line in _LINE.finditer(data, start, end):
            yield line.span()


def _in_characters(spans: Iterable[Span], data: bytes, *, is_ascii: bool) -> list[Span]:
    if is_ascii:
        return list(spans)
    position = _counter(data)
    return [(position(start), position(end)) for start, end in spans]


def _counter(data: bytes) -> Callable[[int], int]:
    """Return a function from an index of a byte to that of its character, for rising indexes."""
    byte = character = 0

    def count(index: int) -> int:
        nonlocal byte, character
        character += len(data[byte:index].translate(None, _CONTINUATION))
        byte = index
        return character

    return count


def _masked(text: str, spans: list[Span], start: int, end: int) -> str:
    """Return ``text[start:end]`` with the spans in it masked."""
    pieces = []
    position = start
    for span_start, span_end in spans:
        if span_end <= position or span_start >= end or start == end:
            continue
        pieces += [text[position : max(position, span_start)], MASK]
        position = min(span_end, end)
    pieces.append(text[position:end])
    return "".join(pieces)
