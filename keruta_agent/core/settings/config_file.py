"""The config file: found, read, and flattened to dotted keys.

A message names the file, the line and the key, and never repeats what stands there, not even as
far as the YAML library would: the line with the mistake may be the one with the token.
"""

from __future__ import annotations

import difflib
import os
import re
import select
import stat
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeGuard

from keruta_agent.core import errors
from keruta_agent.core.settings import retired

if TYPE_CHECKING:
    from ruamel.yaml import YAML

SYSTEM_FILE = Path("/etc/keruta/config.yaml")

#: Seconds in which a pipe in the place of the file must come to its end, and bytes that it may
#: have.
PIPE_TIMEOUT_S: Final = 5.0
LONGEST_STREAM: Final = 1024 * 1024

# What a key looks like. In a line "token:abc" the missing space makes the token a part of the key.
_KEY_START = re.compile(r"[\w.-]{0,40}")


class ConfigFile:
    """A config file that was read: its values under dotted keys."""

    def __init__(
        self, path: Path, text: str, known_keys: Collection[str], *, tolerant: bool = False
    ) -> None:
        """Parse the text.

        Args:
            path: where it stands, for messages.
            text: what stands there.
            known_keys: the dotted keys that it may have.
            tolerant: whether to note the keys that are wrong instead of raising.

        Raises:
            SettingsError: it is not YAML, not sections of keys, or has a key that is not known.
        """
        self.path = path
        self._text = text
        self.values: dict[str, Any] = {}
        #: What is wrong with keys and sections, if that is not to be raised.
        self.problems: list[errors.SettingsError] = []
        for found in self._flatten(self._parse(), known_keys):
            if not isinstance(found, errors.SettingsError):
                self.values[found[0]] = found[1]
            elif tolerant:
                self.problems.append(found)
            else:
                raise found

    def place(self, key: str) -> str:
        """Return the place of a key: the file and, if it is known, the line."""
        return self._at(key.split("."))

    def _at(self, path: list[Any]) -> str:
        line = _line_of(self._text, path)
        return f"{self.path}, line {line}" if line else str(self.path)

    def _parse(self) -> object:
        # Loaded late: it takes 18 ms, and small commands usually have no file to read.
        from ruamel.yaml.constructor import DuplicateKeyError
        from ruamel.yaml.error import YAMLError

        try:
            return safe_reader().load(self._text)
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

    def _flatten(
        self, document: object, known_keys: Collection[str]
    ) -> Iterator[tuple[str, Any] | errors.SettingsError]:
        sections = {key.partition(".")[0] for key in known_keys}
        if not _is_mapping(document):
            yield self._no_mapping("The file", [])
            return
        for section, content in (document or {}).items():
            if section in sections & set(known_keys):
                yield section, content
                continue
            if section not in sections:
                yield self._unknown([section], known_keys, sections)
            elif not _is_mapping(content):
                yield self._no_mapping(f"The section {section}", [section])
            else:
                yield from self._keys(section, content or {}, known_keys)

    def _keys(
        self, section: str, content: Mapping[Any, Any], known_keys: Collection[str]
    ) -> Iterator[tuple[str, Any] | errors.SettingsError]:
        for name, value in content.items():
            key = f"{section}.{name}"
            if key in known_keys:
                yield key, value
            else:
                yield self._unknown([section, name], known_keys, known_keys)

    def _no_mapping(self, what: str, path: list[Any]) -> errors.SettingsError:
        return errors.SettingsError(
            f"Cannot use the config file {self._at(path)}",
            advice=f"{what} must hold keys with values, such as: timeout: 30s",
        )

    def _unknown(
        self, path: list[object], known_keys: Collection[str], candidates: Collection[str]
    ) -> errors.SettingsError:
        wanted = ".".join(str(part) for part in path)
        place = self._at(path)
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


def _is_mapping(content: object) -> TypeGuard[Mapping[Any, Any] | None]:
    """Take a section whose keys are all commented out, which is null, for an empty one."""
    return content is None or isinstance(content, Mapping)


def safe_reader() -> YAML:
    """Return a parser of plain YAML."""
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
    """Return the line, from 1, of a key in parsed YAML; None if it is unknown."""
    node = safe_reader().compose(text)
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


class Candidate(NamedTuple):
    """A config file that is looked for."""

    path: Path
    #: What named it; empty for the usual places, where there may be none.
    origin: str = ""


def usual_places(home: Path | None) -> tuple[Candidate, ...]:
    """Return the person's file and the machine's.

    ``./config.yaml`` is not looked for: a checkout that the agent works in is not trusted.
    """
    own = () if home is None else (Candidate(home / ".keruta" / "config.yaml"),)
    return (*own, Candidate(SYSTEM_FILE))


def read_config_file(
    candidates: Sequence[Candidate], known_keys: Collection[str]
) -> ConfigFile | None:
    """Read the first file that is there; None when there is none.

    Raises:
        SettingsError: a named file is missing, or a file cannot be read or used.
    """
    for candidate in candidates:
        text = read_text(candidate)
        if text is not None:
            return ConfigFile(candidate.path, text, known_keys)
    return None


def read_text(candidate: Candidate) -> str | None:
    """Return the text of a file; None when there is none.

    Raises:
        SettingsError: it was named and is missing, cannot be read, or is no text.
    """
    path, origin = candidate
    try:
        return decode(read_content(path), path)
    except (FileNotFoundError, NotADirectoryError):
        if not origin:
            return None
        raise errors.SettingsError(
            f"Cannot read the config file {path} that {origin} names: there is no such file",
            advice="Create it, or correct the name",
        ) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise errors.SettingsError(
            f"Cannot read the config file {path}: {reason}",
            advice="Make it a file that this user may read, or name another with --config",
        ) from error


def read_content(path: Path) -> bytes:
    """Return the bytes of a file, or of a pipe or ``/dev/null`` in its place.

    Raises:
        SettingsError: it is no file but endless, or a pipe that nobody writes to.
        OSError: it cannot be read.
    """
    # Without waiting: else a pipe is not even opened before somebody writes to it.
    with open(path, "rb", opener=_open_at_once) as file:
        if stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            return file.read()
        return _read_stream(file.fileno(), path)


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)


def _read_stream(descriptor: int, path: Path) -> bytes:
    content = b""
    deadline = time.monotonic() + PIPE_TIMEOUT_S
    while len(content) <= LONGEST_STREAM:
        left_s = max(0.0, deadline - time.monotonic())
        if not select.select([descriptor], [], [], left_s)[0]:
            raise errors.SettingsError(
                f"Cannot read the config file {path}: it is a pipe whose end has not come"
                f" within {PIPE_TIMEOUT_S:.0f} seconds",
                advice="Write to it and close it, or name a file",
            )
        block = os.read(descriptor, LONGEST_STREAM)
        if not block:
            return content
        content += block
    raise errors.SettingsError(
        f"Cannot read the config file {path}: it is no file, and has no end",
        advice="Name a file",
    )


def decode(content: bytes, path: Path) -> str:
    """Return the text of a file's bytes, without the mark that some editors put before it.

    Raises:
        SettingsError: it is no UTF-8 text.
    """
    try:
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise errors.SettingsError(
            f"Cannot read the config file {path}: it is not UTF-8 text", advice="Save it as UTF-8"
        ) from None
