"""The config file: found, read, and flattened to dotted keys.

A message names the file, the line and the key, and never repeats what stands there, not even as
far as the YAML library would: the line with the mistake may be the one with the token.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from keruta_agent import errors
from keruta_agent.settings import retired

if TYPE_CHECKING:
    from ruamel.yaml import YAML

SYSTEM_FILE = Path("/etc/keruta/config.yaml")

# What a key looks like. In a line "token:abc" the missing space makes the token a part of the key.
_KEY_START = re.compile(r"[\w.-]{0,40}")


class ConfigFile:
    """A config file that was read: its values under dotted keys."""

    def __init__(self, path: Path, text: str, known_keys: Collection[str]) -> None:
        """Parses the text.

        Raises:
            SettingsError: it is not YAML, not sections of keys, or has a key that is not known.
        """
        self.path = path
        self._text = text
        self.values = dict(self._flatten(self._parse(), known_keys))

    def place(self, key: str) -> str:
        """Returns where a key stands: the file and, if it can be told, the line."""
        section, _, name = key.partition(".")
        line = _line_of(self._text, [section, name] if name else [section])
        return f"{self.path}, line {line}" if line else str(self.path)

    def _parse(self) -> object:
        # Loaded late: it takes 18 ms, and small commands usually have no file to read.
        from ruamel.yaml.constructor import DuplicateKeyError
        from ruamel.yaml.error import YAMLError

        try:
            return _reader().load(self._text)
        except DuplicateKeyError as error:
            raise self._mistake("a key stands there twice", error, "Remove one of them") from None
        except (YAMLError, ValueError, TypeError, RecursionError) as error:
            # The last three escape the library on impossible dates, odd tags and deep nesting.
            raise self._mistake(
                "this is not valid YAML",
                error,
                "Check indentation and colons, and put values with special characters in quotes",
            ) from None

    def _mistake(self, what: str, error: Exception, advice: str) -> errors.SettingsError:
        mark = getattr(error, "problem_mark", None)
        place = f"{self.path}, line {mark.line + 1}" if mark is not None else str(self.path)
        return errors.SettingsError(f"Cannot use the config file {place}: {what}", advice=advice)

    def _flatten(self, document: object, known_keys: Collection[str]) -> Iterator[tuple[str, Any]]:
        for section, content in self._mapping(document, "The file").items():
            sections = {key.partition(".")[0] for key in known_keys}
            if section in sections & set(known_keys):
                yield section, content
                continue
            if section not in sections:
                raise self._unknown([section], known_keys, sections)
            # A section whose keys are all commented out is null.
            for name, value in self._mapping(content, f"The section {section}").items():
                key = f"{section}.{name}"
                if key not in known_keys:
                    raise self._unknown([section, name], known_keys, known_keys)
                yield key, value

    def _mapping(self, content: object, what: str) -> Mapping[Any, Any]:
        if content is None:
            return {}
        if not isinstance(content, Mapping):
            raise errors.SettingsError(
                f"Cannot use the config file {self.path}",
                advice=f"{what} must hold keys with values, such as: timeout: 30s",
            )
        return content

    def _unknown(
        self, path: list[object], known_keys: Collection[str], candidates: Collection[str]
    ) -> errors.SettingsError:
        wanted = ".".join(str(part) for part in path)
        line = _line_of(self._text, path)
        place = f"{self.path}, line {line}" if line else str(self.path)
        start = _KEY_START.match(wanted)
        name = start[0] if start else ""
        if name in retired.KEYS:
            return errors.SettingsError(
                f"Cannot use the config file {place}: {name!r} is a setting of the old runner",
                advice=retired.KEYS[name],
            )
        return errors.SettingsError(
            f"Cannot use the config file {place}: there is no setting {name!r}",
            advice=_advice(name, known_keys, candidates),
        )


def _reader() -> YAML:
    from ruamel.yaml import YAML

    reader = YAML(typ="safe", pure=True)
    # Its warning would print the line, with whatever stands there.
    reader.composer.warn_double_anchors = False
    return reader


def _advice(name: str, known_keys: Collection[str], candidates: Collection[str]) -> str:
    if name in known_keys:
        section, _, key = name.partition(".")
        return f"Write {section}: and below it, indented, {key}: with its value"
    dotted = name.replace("_", ".", 1)
    if dotted in known_keys:
        return f"Did you mean {dotted}?"
    near = difflib.get_close_matches(name, sorted(candidates), n=1) or difflib.get_close_matches(
        dotted, sorted(known_keys), n=1
    )
    if near:
        return f"Did you mean {near[0]}?"
    return f"Known are: {', '.join(sorted(candidates))}"


def _line_of(text: str, path: list[object]) -> int | None:
    """Returns the line, from 1, in which a key of parsed YAML stands; None if it cannot be told."""
    node = _reader().compose(text)
    line = None
    for wanted in path:
        # Only mappings have pairs; a merged or aliased key stands elsewhere.
        pairs = node.value if node is not None and isinstance(node.value, list) else []
        found = [pair for pair in pairs if isinstance(pair, tuple) and pair[0].value == str(wanted)]
        if not found:
            return None
        key_node, node = found[0]
        line = key_node.start_mark.line + 1
    return line


def read_config_file(
    explicit: tuple[Path, str] | None, home: Path | None, known_keys: Collection[str]
) -> ConfigFile | None:
    """Reads the named file, or the person's, or the machine's; None when there is none.

    ``./config.yaml`` is not looked for: a checkout that the agent works in is not trusted.

    Args:
        explicit: a file that must exist, and what named it.
        home: the person's home directory, if there is one.
        known_keys: the dotted keys that a file may have.

    Raises:
        SettingsError: the named file is missing, or a file cannot be read or used.
    """
    if explicit is not None:
        path, origin = explicit
        text = _read(path)
        if text is None:
            raise errors.SettingsError(
                f"Cannot read the config file {path} that {origin} names: there is no such file",
                advice="Create it, or correct the name",
            )
        return ConfigFile(path, text, known_keys)
    candidates = [home / ".keruta" / "config.yaml"] if home is not None else []
    for path in (*candidates, SYSTEM_FILE):
        text = _read(path)
        if text is not None:
            return ConfigFile(path, text, known_keys)
    return None


def _read(path: Path) -> str | None:
    try:
        return path.read_text(encoding="utf-8-sig")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except UnicodeDecodeError:
        reason, advice = "it is not UTF-8 text", "Save it as UTF-8"
    except OSError as error:
        reason = error.strerror or type(error).__name__
        advice = "Make it a file that this user may read, or name another with --config"
    raise errors.SettingsError(f"Cannot read the config file {path}: {reason}", advice=advice)
