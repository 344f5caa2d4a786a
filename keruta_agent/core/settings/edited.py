"""One value of a config file changed, every other line left as its owner wrote it.

ruamel.yaml writes the change and keeps comments, order and quotes, but it writes the whole file
with one indentation. So only the lines of the key are taken from what it writes, or of its section
where that is written in braces. Every result is parsed and compared before it is accepted.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, Final

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap, CommentedSeq

from keruta_agent.core import errors
from keruta_agent.core.settings.config_file import ConfigFile
from keruta_agent.core.settings.template import commented_default

#: How the template ends the comment of a key: with its variables.
_TEMPLATE_COMMENT: Final = re.compile(r"\s*# .*\([A-Z_]+( or [A-Z_]+)*\)\s*")


class EditedFile:
    """The text of a config file, to be changed one key at a time."""

    def __init__(self, path: Path, text: str, known_keys: Collection[str]) -> None:
        """Parse the text.

        Raises:
            SettingsError: it is no config file, or has a key that is not known.
        """
        self.path = path
        self.text = text
        self.values = ConfigFile(path, text, known_keys).values
        self._known_keys = known_keys
        self._line_end = "\r\n" if "\r\n" in text else "\n"

    def set(self, key: str, value: object) -> None:
        """Give a key a value: text, a number, a switch, or a list of texts.

        Raises:
            SettingsError: the file is written in a way that allows no change of this one value.
        """
        self._adopt(self._texts_with(key, value), {**self.values, key: value})

    def unset(self, key: str) -> bool:
        """Remove a key; return whether it was there.

        Raises:
            SettingsError: the file is written in a way that allows no change of this one value.
        """
        if key not in self.values:
            return False
        wanted = {other: value for other, value in self.values.items() if other != key}
        self._adopt(self._texts_without(key), wanted)
        return True

    def _adopt(self, candidates: Iterator[str], wanted: dict[str, Any]) -> None:
        """Take the first text that says just what is wanted."""
        for text in candidates:
            try:
                values = ConfigFile(self.path, text, self._known_keys).values
            except errors.SettingsError:
                continue
            if values == wanted:
                self.text, self.values = text, values
                return
        raise errors.SettingsError(
            f"Cannot change this value alone in {self.path}: other values depend on it",
            advice="Change it in an editor",
        )

    def _texts_with(self, key: str, value: object) -> Iterator[str]:
        """Yield the text with a value, the smallest change first."""
        section, _, name = key.rpartition(".")
        document = _loaded(self.text)
        indentation = _indentation(document, section)
        if key not in self.values:
            yield self._uncommented(key, _dumped({name: _flow(value)}), indentation)
        if (section or name) not in document:
            new = {name: _flow(value)}
            yield self._appended(_dumped({section: new} if section else new))
        if section and not document.get(section):
            document[section] = CommentedMap()
        (document[section] if section else document)[name] = _flow(value)
        after = _dumped(document, indentation)
        yield self._with_lines_of(key, after)
        yield self._with_lines_of(section, after)
        yield after

    def _texts_without(self, key: str) -> Iterator[str]:
        """Yield the text without a key, the smallest change first."""
        yield self._without_lines_of(key)
        section, _, name = key.rpartition(".")
        document = _loaded(self.text)
        (document[section] if section else document).pop(name, None)
        after = _dumped(document, _indentation(document, section))
        yield self._with_lines_of(section, after)
        yield after

    def _with_lines_of(self, key: str, other: str) -> str:
        """Return the text with the lines of a key or section as they are in another text."""
        own, new = _lines(self.text), _lines(other)
        place = _place(self.text, key)
        if place is None:  # a new key ends its section
            section = _place(self.text, key.rpartition(".")[0])
            place = slice(section.stop, section.stop) if section else slice(len(own), len(own))
        has_end = self.text.endswith("\n")
        own[place] = [line[:-1] + self._line_end for line in new[_place(other, key) or slice(0)]]
        text = "".join(line if line.endswith("\n") else line + self._line_end for line in own)
        return text if has_end else text.removesuffix(self._line_end)

    def _without_lines_of(self, key: str) -> str:
        """Return the text without a key; below the template's comment, with its default."""
        lines = _lines(self.text)
        place = _place(self.text, key)
        if place is None:
            return self.text
        first = lines[place.start]
        is_described = place.start > 0 and _TEMPLATE_COMMENT.fullmatch(lines[place.start - 1])
        lines[place] = [_replaced(first, commented_default(key))] if is_described else []
        return "".join(lines)

    def _appended(self, lines: str) -> str:
        end = self._line_end
        before = self.text if not self.text or self.text.endswith("\n") else self.text + end
        return before + (end if before.strip() else "") + lines.replace("\n", end)

    def _uncommented(self, key: str, line: str, indentation: int) -> str:
        """Return the text with a line in the place of a key's commented default, if it has one."""
        section = key.rpartition(".")[0]
        lines = _lines(self.text)
        header = _place(self.text, section)
        first = 0 if not section else header.start + 1 if header else len(lines)
        for number, old in enumerate(lines[first:], first):
            if section and re.match(r"[^\s#]", old):
                break  # the next section
            if old.strip() == commented_default(key) and old[0].isspace() == bool(section):
                start = " " * indentation if section else ""
                lines[number] = start + _replaced(old.lstrip(), line.rstrip("\n"))
                return "".join(lines)
        return self.text


def _place(text: str, key: str) -> slice | None:
    """Return the lines of a key or section, without the comments below it."""
    document = _loaded(text)
    numbers = {name: at[0] for name, at in (document.lc.data or {}).items()}
    if "." in key:
        for name in list(numbers):
            children = getattr(document[name], "lc", None)
            data = children.data if children else None
            numbers |= {f"{name}.{child}": at[0] for child, at in (data or {}).items()}
    start = numbers.get(key)
    if start is None:
        return None
    lines = _lines(text)
    stop = min((number for number in numbers.values() if number > start), default=len(lines))
    while stop > start + 1 and lines[stop - 1].strip()[:1] in ("", "#"):
        stop -= 1
    return slice(start, stop)


def _replaced(line: str, new: str) -> str:
    """Return other content between a line's own indentation and end."""
    bare = line.rstrip("\r\n")
    return bare[: len(bare) - len(bare.lstrip())] + new + line[len(bare) :]


def _loaded(text: str) -> Any:
    document = _round_trip().load(text.replace("\r\n", "\n"))
    return CommentedMap() if document is None else document


def _dumped(document: object, indentation: int = 2) -> str:
    stream = io.StringIO()
    _round_trip(indentation).dump(document, stream)
    return stream.getvalue()


def _round_trip(indentation: int = 2) -> YAML:
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = sys.maxsize  # long values stay on their line
    yaml.map_indent = indentation
    # Its warning would print the line, with whatever stands there.
    yaml.composer.warn_double_anchors = False
    return yaml


def _indentation(document: Any, section: str) -> int:
    """Return the column of a section's keys."""
    content = document.get(section) if section else None
    return content.lc.col if isinstance(content, CommentedMap) and content.lc.col else 2


def _flow(value: object) -> object:
    """Return a value as ruamel.yaml writes it on one line."""
    if not isinstance(value, list | tuple):
        return value
    values = CommentedSeq(value)
    values.fa.set_flow_style()
    return values


def _lines(text: str) -> list[str]:
    """Split a text at its line feeds alone: YAML's and Python's other line ends differ."""
    return list(io.StringIO(text, newline="\n"))
