"""Where values come from: defaults < config file < environment < flags.

The strongest source wins and is remembered, so that every message and ``config show`` can say who
said so. A value that a stronger source hides is not checked: a flag gets around a wrong file.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from marshmallow import ValidationError

from keruta_agent.core import errors
from keruta_agent.core.settings import declaration, schema
from keruta_agent.core.settings.config_file import Candidate, read_config_file, usual_places
from keruta_agent.core.settings.fields import MASK

#: State directory of an agent without a home.
HOMELESS_BASE_DIR = "/tmp/keruta"  # noqa: S108 - whoever uses it checks the owner

KNOWN_KEYS = frozenset(info.key for info in schema.SETTINGS if info.key is not None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """Who set a value."""

    kind: Literal["flag", "environment", "file", "default"]
    #: The option, the variable, or the file and key; empty for a default.
    detail: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class LoadedSettings:
    """The settings in force, and who set each of them."""

    settings: schema.Settings
    #: By attribute name of the settings.
    sources: Mapping[str, Source]
    #: The file that was read, if any.
    config_file: Path | None

    def is_given(self, name: str) -> bool:
        """Return whether anybody set a setting: in the file, a variable, or a flag."""
        return self.sources[name].kind != "default"


def load_settings(
    flags: Mapping[str, object | None],
    environment: Mapping[str, str] = os.environ,
    *,
    config_path: Path | None = None,
) -> LoadedSettings:
    """Return the settings in force.

    Args:
        flags: values by attribute name; None, and the empty tuple of a repeatable option, count
            as not given.
        environment: variables; an empty one counts as not set.
        config_path: the file of ``--config``, which then must exist.

    Raises:
        SettingsError: the first problem, in the order file, then settings as declared.
    """
    return _Loader(flags, environment, config_path).load()


def with_unit(text: str, info: declaration.SettingInfo) -> str:
    """Return a variable's text with the unit that it implies."""
    return text + info.environment_unit if text.replace(".", "", 1).isdecimal() else text


def home_of(environment: Mapping[str, str]) -> Path | None:
    """Return the person's home directory, if there is one."""
    home = environment.get("HOME", "").strip()
    return Path(home) if home else None


def config_candidates(
    config_path: Path | None, environment: Mapping[str, str]
) -> tuple[Candidate, ...]:
    """Return the config files that are looked for, of which the first is read: a named one alone.

    Raises:
        SettingsError: the named one is below a home directory that is not known.
    """
    home = home_of(environment)
    if config_path is not None:
        return (Candidate(at_home(config_path, "--config", home), "--config"),)
    named = environment.get("KERUTA_CONFIG", "").strip()
    if named:
        path = at_home(Path(named), "KERUTA_CONFIG", home)
        return (Candidate(path, "KERUTA_CONFIG"),)
    return usual_places(home)


class _Loader:
    def __init__(
        self,
        flags: Mapping[str, object | None],
        environment: Mapping[str, str],
        config_path: Path | None,
    ) -> None:
        unknown = flags.keys() - {info.name for info in schema.SETTINGS}
        if unknown:
            raise ValueError(f"no settings of this name: {', '.join(sorted(unknown))}")
        self.flags = flags
        self.environment = environment
        self.home = home_of(environment)
        self.file = read_config_file(config_candidates(config_path, environment), KNOWN_KEYS)

    def load(self) -> LoadedSettings:
        found = {info.name: self._find(info) for info in schema.SETTINGS}
        sources = {name: source for name, (_, source) in found.items()}
        raw = {name: value for name, (value, _) in found.items()}
        values = self._checked(raw, sources)
        for name, value in values.items():
            if isinstance(value, Path):
                values[name] = self._absolute(value, sources[name])
        return LoadedSettings(
            settings=schema.Settings(**values),
            sources=sources,
            config_file=self.file.path if self.file else None,
        )

    def _find(self, info: declaration.SettingInfo) -> tuple[object, Source]:
        flag = self.flags.get(info.name)
        if flag is not None and flag != ():
            return flag, Source(kind="flag", detail=info.flag)
        for variable in info.environment:
            text = self.environment.get(variable, "").strip()
            if text:
                value = with_unit(text, info)
                return value, Source(kind="environment", detail=variable)
        if self.file is not None and info.key is not None:
            in_file = self.file.values.get(info.key)
            if in_file is not None:
                return in_file, Source(kind="file", detail=f"{self.file.path}: {info.key}")
        return self._default(info), Source(kind="default")

    def _default(self, info: declaration.SettingInfo) -> object:
        if info.name == "base_dir" and self.home is None:
            return HOMELESS_BASE_DIR
        return info.default

    def _checked(self, raw: Mapping[str, object], sources: Mapping[str, Source]) -> dict[str, Any]:
        try:
            return dict(schema.SettingsSchema().load(raw))
        except ValidationError as error:
            problems = error.messages_dict
        info = next(info for info in schema.SETTINGS if info.name in problems)
        subject = self._subject(info, sources[info.name], raw[info.name])
        raise errors.SettingsError(f"Cannot use {subject}", advice=problems[info.name][0])

    def _subject(self, info: declaration.SettingInfo, source: Source, value: object) -> str:
        value_shown = quoted(info, value)
        if source.kind == "file" and self.file is not None and info.key is not None:
            return f"{info.key} {value_shown} in {self.file.place(info.key)}"
        return f"{source.detail or info.name} {value_shown}"

    def _absolute(self, path: Path, source: Source) -> Path:
        """Make a path independent of where a command is started.

        The daemon and the commands inside a script read the same file from other directories, so
        a path in the file counts from the file.
        """
        path = at_home(path, source.detail, self.home)
        if source.kind == "file" and self.file is not None:
            path = self.file.path.absolute().parent / path
        return path.absolute()


def at_home(path: Path, origin: str, home: Path | None) -> Path:
    """Return a path with its leading ``~`` replaced.

    Raises:
        SettingsError: there is no home directory.
    """
    if path.parts[:1] != ("~",):
        return path
    if home is None:
        raise errors.SettingsError(
            f"Cannot find the ~ in {origin}: HOME is not set",
            advice="Write the directory in full",
        )
    return home.joinpath(*path.parts[1:])


def quoted(info: declaration.SettingInfo, value: object) -> str:
    """Return a wrong value as a message may show it."""
    text = repr(value)
    # Anything with an @ may be an address with a password.
    if info.secret or "@" in text:
        return f"({MASK})"
    return f"({text[:60]}...)" if len(text) > 60 else f"({text})"
