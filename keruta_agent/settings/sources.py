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

from keruta_agent import errors
from keruta_agent.settings import declaration, schema
from keruta_agent.settings.config_file import ConfigFile, read_config_file
from keruta_agent.settings.fields import MASK

#: State directory of an agent without a home, as the spec has it.
HOMELESS_BASE_DIR = "/tmp/keruta"  # noqa: S108 - whoever uses it checks the owner

_FILE_KEYS = frozenset(info.key for info in schema.SETTINGS if info.key is not None)


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
        """Tells whether anybody set a setting: in the file, a variable, or a flag."""
        return self.sources[name].kind != "default"


def load_settings(
    flags: Mapping[str, object | None],
    environment: Mapping[str, str] = os.environ,
    *,
    config_path: Path | None = None,
) -> LoadedSettings:
    """Returns the settings in force.

    Args:
        flags: values by attribute name; None, and the empty tuple of a repeatable option, count
            as not given.
        environment: variables; an empty one counts as not set.
        config_path: the file of ``--config``, which then must exist.

    Raises:
        SettingsError: the first problem, in the order file, then settings as declared.
    """
    return _Loader(flags, environment, config_path).load()


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
        home = environment.get("HOME", "").strip()
        self.home = Path(home) if home else None
        self.file = self._read_file(config_path)

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

    def _read_file(self, config_path: Path | None) -> ConfigFile | None:
        named = self.environment.get("KERUTA_CONFIG", "").strip()
        explicit = None
        if config_path is not None:
            explicit = (self._at_home(config_path, "--config"), "--config")
        elif named:
            explicit = (self._at_home(Path(named), "KERUTA_CONFIG"), "KERUTA_CONFIG")
        return read_config_file(explicit, self.home, _FILE_KEYS)

    def _find(self, info: declaration.SettingInfo) -> tuple[object, Source]:
        flag = self.flags.get(info.name)
        if flag is not None and flag != ():
            return flag, Source(kind="flag", detail=info.flag)
        for variable in info.environment:
            text = self.environment.get(variable, "").strip()
            if text:
                is_bare = text.replace(".", "", 1).isdecimal()
                value = text + info.environment_unit if is_bare else text
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
        value_shown = _quoted(info, value)
        if source.kind == "file" and self.file is not None and info.key is not None:
            return f"{info.key} {value_shown} in {self.file.place(info.key)}"
        return f"{source.detail or info.name} {value_shown}"

    def _absolute(self, path: Path, source: Source) -> Path:
        """Makes a path independent of where a command is started.

        The daemon and the commands inside a script read the same file from other directories, so
        a path in the file counts from the file.
        """
        path = self._at_home(path, source.detail)
        if source.kind == "file" and self.file is not None:
            path = self.file.path.absolute().parent / path
        return path.absolute()

    def _at_home(self, path: Path, origin: str) -> Path:
        if path.parts[:1] != ("~",):
            return path
        if self.home is None:
            raise errors.SettingsError(
                f"Cannot find the ~ in {origin}: HOME is not set",
                advice="Write the directory in full",
            )
        return self.home.joinpath(*path.parts[1:])


def _quoted(info: declaration.SettingInfo, value: object) -> str:
    text = repr(value)
    # Anything with an @ may be an address with a password.
    if info.secret or "@" in text:
        return f"({MASK})"
    return f"({text[:60]}...)" if len(text) > 60 else f"({text})"
