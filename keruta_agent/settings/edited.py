"""One value of a config file changed, everything else left to the letter.

A YAML library that writes the whole file anew keeps comments, but moves them, folds lines and
changes indentation. So the text itself is edited where the parser says that the value stands, and
the library writes only what has no lines of its own, such as ``api: {url: ...}``. In either case
the outcome is parsed and compared before anybody gets it.
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from keruta_agent import errors
from keruta_agent.settings.config_file import ConfigFile, safe_reader
from keruta_agent.settings.template import commented_default

#: What YAML reads as the same text without quotes, whatever stands before or behind it.
_PLAIN = re.compile(r"[A-Za-z0-9./~_][\w./~@%+:=-]*(?<!:)")


class _Entry(NamedTuple):
    """Where a key and its value stand in the text."""

    key: Any
    value: Any


class EditedFile:
    """The text of a config file, to be changed one key at a time."""

    def __init__(self, path: Path, text: str, known_keys: Collection[str]) -> None:
        """Parses the text.

        Raises:
            SettingsError: it is no config file, or has a key that is not known.
        """
        self.path = path
        self.text = text
        self.values = ConfigFile(path, text, known_keys).values
        self._known_keys = known_keys
        self._line_end = "\r\n" if "\r\n" in text else "\n"

    def set(self, key: str, value: object) -> None:
        """Gives a key a value: text, a number, a switch, or a list of texts.

        Raises:
            SettingsError: the file is written in a way that allows no change of this one value.
        """
        section, _, name = key.rpartition(".")
        self._adopt(
            (self._with(section, name, value), lambda: self._rewritten(section, name, value)),
            {**self.values, key: value},
        )

    def unset(self, key: str) -> bool:
        """Takes a key away; returns whether it was there.

        Raises:
            SettingsError: the file is written in a way that allows no change of this one value.
        """
        if key not in self.values:
            return False
        section, _, name = key.rpartition(".")
        wanted = {other: value for other, value in self.values.items() if other != key}
        self._adopt(
            (self._without(section, name), lambda: self._rewritten(section, name, None)), wanted
        )
        return True

    def _adopt(self, candidates: tuple[Any, Any], wanted: dict[str, Any]) -> None:
        """Takes the first text that says just what is wanted."""
        direct, otherwise = candidates
        for text in (direct, None):
            text = otherwise() if text is None else text
            try:
                values = ConfigFile(self.path, text, self._known_keys).values
            except errors.SettingsError:
                continue
            if values == wanted:
                self.text, self.values = text, values
                return
        raise errors.SettingsError(
            f"Cannot change this value alone in {self.path}: others hang on its place",
            advice="Change it in an editor",
        )

    def _with(self, section: str, name: str, value: object) -> str | None:
        """Returns the text with the value; None if the section is not written in lines."""
        written = _written(value)
        root = self._root()
        entry = _entry(root, section)
        if section and entry is None:
            return self._appended(f"{section}:", f"  {name}: {written}")
        content = root if entry is None else entry.value
        if content is not None and not _is_lines(content):
            return None
        known = _entry(content, name)
        if known is not None:
            start = self.text.index(":", known.key.end_mark.index) + 1
            end = max(start, _end(known.value))
            return f"{self.text[:start]} {written}{self.text[end:]}"
        if entry is None:
            return self._uncommented(f"{name}: {written}", name, first=0) or self._appended(
                f"{name}: {written}"
            )
        return self._inserted(entry, section, name, written)

    def _appended(self, *lines: str) -> str:
        end = self._line_end
        before = self.text if not self.text or self.text.endswith("\n") else self.text + end
        gap = end if before.strip() else ""
        return before + gap + "".join(line + end for line in lines)

    def _inserted(self, entry: _Entry, section: str, name: str, written: str) -> str:
        """Returns the text with a new key: where its default is commented out, or at the end."""
        children = entry.value.value or []
        indent = children[0][0].start_mark.column if children else 2
        line = f"{' ' * indent}{name}: {written}"
        there = self._uncommented(line, f"{section}.{name}", first=entry.key.start_mark.line + 1)
        if there is not None:
            return there
        at = _line_behind(
            self.text, _end(children[-1][1]) if children else entry.key.end_mark.index
        )
        before, after = self.text[:at], self.text[at:]
        if not before.endswith("\n"):
            before += self._line_end
        return f"{before}{line}{self._line_end}{after}"

    def _uncommented(self, line: str, key: str, *, first: int) -> str | None:
        """Returns the text with a line in the place of a key's commented default, if it has one."""
        default = commented_default(key)
        lines = self.text.splitlines(keepends=True)
        for number in range(first, len(lines)):
            bare = lines[number].rstrip("\r\n")
            if "." in key and re.match(r"[^\s#]", bare):
                break  # the next section
            if bare.strip() == default and bool(bare[:1].strip()) == ("." not in key):
                ending = lines[number][len(bare) :]
                return "".join((*lines[:number], line + ending, *lines[number + 1 :]))
        return None

    def _without(self, section: str, name: str) -> str | None:
        """Returns the text without the key; where its comment stays, the default stays in one."""
        root = self._root()
        entry = _entry(root, section)
        content = root if entry is None else entry.value
        known = _entry(content, name)
        if known is None or not _is_lines(content):
            return None
        start = known.key.start_mark.index - known.key.start_mark.column
        end = _line_behind(self.text, max(_end(known.value), known.key.end_mark.index))
        above = self.text[:start].splitlines()[-1:]
        default = commented_default(f"{section}.{name}".lstrip("."))
        kept = ""
        if above and re.fullmatch(r"\s*# .*\([A-Z_]+( or [A-Z_]+)*\)", above[0]):
            kept = " " * known.key.start_mark.column + default + self._line_end
        return self.text[:start] + kept + self.text[end:]

    def _rewritten(self, section: str, name: str, value: object) -> str:
        """Returns the file as the library writes it, with a value changed or (None) taken away."""
        from ruamel.yaml import YAML

        writer = YAML()
        writer.preserve_quotes = True
        writer.width = 4096  # long values stay on their line
        document = writer.load(self.text) or {}
        content = document.get(section) if section else document
        if content is None:
            document[section] = {name: value}
        elif value is None:
            content.pop(name, None)
        else:
            content[name] = value
        stream = io.StringIO()
        writer.dump(document, stream)
        return stream.getvalue()

    def _root(self) -> Any:
        return safe_reader().compose(self.text)


def _entry(node: Any, name: str) -> _Entry | None:
    """Returns a key of a mapping with its value."""
    for key, value in _pairs(node):
        if key.value == name:
            return _Entry(key, value)
    return None


def _pairs(node: Any) -> Iterator[tuple[Any, Any]]:
    if node is not None and isinstance(node.value, list):
        yield from (pair for pair in node.value if isinstance(pair, tuple))


def _is_lines(node: Any) -> bool:
    """Tells a section of lines, or an empty one, from one in braces."""
    is_empty = node.value == ""
    return is_empty or (any(True for _ in _pairs(node)) and not node.flow_style)


def _end(node: Any) -> int:
    """Returns where the text of a value ends; a block reaches to its last line, no further."""
    if isinstance(node.value, list) and node.value and not node.flow_style:
        last = node.value[-1]
        return _end(last[1] if isinstance(last, tuple) else last)
    return int(node.end_mark.index)


def _line_behind(text: str, index: int) -> int:
    """Returns where the line after that of a place begins."""
    if index and text[index - 1 : index] == "\n":
        return index
    found = text.find("\n", index)
    return len(text) if found < 0 else found + 1


def _written(value: object) -> str:
    """Returns a value as YAML, on one line."""
    if isinstance(value, list | tuple):
        return f"[{', '.join(_written(item) for item in value)}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if not isinstance(value, str):
        return str(value)
    if _PLAIN.fullmatch(value) and safe_reader().load(value) == value:
        return value
    return json.dumps(value, ensure_ascii=False)  # JSON's quotes are YAML's double ones
