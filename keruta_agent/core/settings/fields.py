"""The kinds of values that settings have, beside durations and sizes.

Marshmallow's own fields say "Not a valid integer." and take 5.7 for 5; these say what is right.
No message repeats the value: it may be a secret. Each reads text (variables, flags) and what YAML
makes of a value (the file); serialising gives what may be shown to a person.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, urlsplit

from marshmallow import ValidationError, fields

MASK = "********"

_TRUE = frozenset({"1", "true", "yes", "on"})
_FALSE = frozenset({"0", "false", "no", "off"})
_HOST = re.compile(r"(?:https?://)?(?:[^\s/@:\[\]]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?/?", re.I)
# Eighteen digits fit into 64 bits, and int() of endless digits would raise another error.
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
# Not right behind another slash: in http://api the host itself is called "api".
_API_SUFFIX = re.compile(r"(?<!/)/api(?:/v1)?\Z")


class Text(fields.Field[str]):
    """Text in one line, without the spaces around it."""

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> str:
        return _line_of_text(value)


def _line_of_text(value: object) -> str:
    if not isinstance(value, str):
        raise ValidationError("It must be text: put it in quotes")
    text = value.strip()
    if not text:
        raise ValidationError("It must not be empty: leave it out instead")
    # Cc are control characters; Cs is what Python makes of bytes that are not UTF-8.
    if any(unicodedata.category(character) in {"Cc", "Cs"} for character in text):
        raise ValidationError("It must be one line of UTF-8 text without control characters")
    return text


class Secret(Text):
    """A token that travels in an HTTP header; shown as a mask."""

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> str:
        text = _line_of_text(value)
        # Headers carry nothing else; requests would name the whole token in its own error.
        if not text.isascii() or " " in text:
            raise ValidationError("It must be ASCII text without spaces")
        return text

    def _serialize(
        self, value: str | None, attr: str | None, obj: Any, **kwargs: Any
    ) -> str | None:
        return None if value is None else MASK


class Choice(fields.Field[str]):
    """One of a few words, in any case; some have a second name."""

    def __init__(self, *words: str, aliases: Mapping[str, str] | None = None) -> None:
        super().__init__()
        self.words = words
        self.meanings = {word.casefold(): word for word in words}
        for alias, word in (aliases or {}).items():
            self.meanings[alias.casefold()] = word

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> str:
        meaning = self.meanings.get(str(value).strip().casefold())
        if meaning is None:
            raise ValidationError(f"It must be one of {', '.join(self.words)}")
        return meaning


class YesNo(fields.Field[bool]):
    """A switch: 1/0, true/false, yes/no, on/off in any case."""

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> bool:
        word = str(value).strip().casefold()
        if word not in _TRUE | _FALSE:
            raise ValidationError("It must be true or false")
        return word in _TRUE


class Whole(fields.Field[int]):
    """A whole number between two bounds."""

    def __init__(self, *, minimum: int, maximum: int, advice: str = "") -> None:
        super().__init__()
        self.minimum = minimum
        self.maximum = maximum
        self.advice = advice or f"It must be a whole number from {minimum} to {maximum}"

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> int:
        # str(True) and str(5.0) match no digits: YAML's other types are refused with the same words
        digits = str(value).strip()
        if not _WHOLE.fullmatch(digits) or not self.minimum <= int(digits) <= self.maximum:
            raise ValidationError(self.advice)
        return int(digits)


class Location(fields.Field[Path]):
    """A file or directory. A leading ``~`` stays; sources.py knows whose home is meant."""

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> Path:
        text = _line_of_text(str(value) if isinstance(value, Path) else value)
        if text.startswith("~") and text != "~" and not text.startswith("~/"):
            raise ValidationError("Write another person's home directory in full, not as ~name")
        return Path(text)

    def _serialize(
        self, value: Path | None, attr: str | None, obj: Any, **kwargs: Any
    ) -> str | None:
        return None if value is None else str(value)


class Names(fields.Field[tuple[str, ...]]):
    """A list of names: text separated by commas, or a YAML list."""

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> tuple[str, ...]:
        if isinstance(value, str):
            return self._cleaned(part for part in value.split(",") if part.strip())
        if isinstance(value, list | tuple):
            return self._cleaned(value)
        raise ValidationError("It must be a list, or names separated by commas")

    def _cleaned(self, names: Iterable[object]) -> tuple[str, ...]:
        return tuple(dict.fromkeys(self._clean(_line_of_text(name)) for name in names))

    def _clean(self, name: str) -> str:
        return name

    def _serialize(
        self, value: tuple[str, ...] | None, attr: str | None, obj: Any, **kwargs: Any
    ) -> list[str] | None:
        return None if value is None else list(value)


class Hosts(Names):
    """Hosts with their ports, over https unless they say ``http://``."""

    def _clean(self, name: str) -> str:
        if _HOST.fullmatch(name) is None:
            raise ValidationError(
                "It must be hosts, such as git.example.org or http://localhost:3000"
            )
        return name.rstrip("/").lower()


class Extensions(Names):
    """File name endings in lower case with their dot, made for ``str.endswith``."""

    def _clean(self, name: str) -> str:
        return "." + name.removeprefix("*").removeprefix(".").lower()


class Table(fields.Field[dict[str, Any]]):
    """Names with values: a YAML mapping, or a JSON object as text; texts, unless ``any_value``."""

    def __init__(self, *, any_value: bool = False, masked: bool = False) -> None:
        super().__init__()
        self.any_value = any_value
        self.masked = masked

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> dict[str, Any]:
        if isinstance(value, str):
            try:
                value = json.loads(value)
            except (ValueError, RecursionError):
                value = None
        if not isinstance(value, Mapping):
            raise ValidationError('It must be names with values, such as {"name": "value"}')
        return {_line_of_text(name): self._value(inner) for name, inner in value.items()}

    def _value(self, value: object) -> object:
        if not self.any_value:
            return _line_of_text(value)
        try:
            return json.loads(json.dumps(value))
        except (TypeError, ValueError, RecursionError):
            raise ValidationError("Its values must be such as JSON has") from None

    def _serialize(
        self, value: dict[str, Any] | None, attr: str | None, obj: Any, **kwargs: Any
    ) -> dict[str, Any] | None:
        if value is None or not self.masked:
            return value
        return dict.fromkeys(value, MASK)


class HttpUrl(Text):
    """An http or https address.

    A password in it is kept for the requests and masked where the setting is shown.
    """

    def __init__(self, *, example: str) -> None:
        super().__init__()
        self.example = example

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> str:
        url = self._clean(_line_of_text(value).rstrip("/"))
        if not _is_http_address(url):
            raise ValidationError(f"It must be an http or https address such as {self.example}")
        return url

    def _clean(self, url: str) -> str:
        return url

    def _serialize(
        self, value: str | None, attr: str | None, obj: Any, **kwargs: Any
    ) -> str | None:
        return None if value is None else _without_password(value)


class ApiUrl(HttpUrl):
    """Address of the keruta API, without the ``/api/v1`` that some pages put into it."""

    def __init__(self) -> None:
        super().__init__(example="http://keruta-api:8080")

    def _clean(self, url: str) -> str:
        return _API_SUFFIX.sub("", url).rstrip("/")


def _is_http_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return (
            parts.scheme in {"http", "https"}
            and bool(parts.hostname)
            and parts.port != 0
            and not (parts.query or parts.fragment or re.search(r"\s", url))
        )
    except ValueError:
        return False


def _without_password(url: str) -> str:
    parts: SplitResult = urlsplit(url)
    login, at, host = parts.netloc.rpartition("@")
    if not at:
        return url
    user, colon, _ = login.partition(":")
    # A login without a password is usually a token.
    shown = f"{user}:{MASK}" if colon else MASK
    return parts._replace(netloc=f"{shown}@{host}").geturl()
