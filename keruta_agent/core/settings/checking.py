"""All that is wrong with a config file and the variables, at once."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from marshmallow import ValidationError

from keruta_agent.core import errors
from keruta_agent.core.settings import declaration, schema
from keruta_agent.core.settings.config_file import Candidate, ConfigFile, read_text
from keruta_agent.core.settings.given import IN_FILE, is_secret
from keruta_agent.core.settings.sources import KNOWN_KEYS, quoted, with_unit

_LINE = re.compile(r", line ([0-9]+)")


def problems_of_file(candidate: Candidate) -> list[str]:
    """Return what is wrong with a file, in the order of its lines; empty when all is well.

    Raises:
        SettingsError: it cannot be read.
    """
    text = read_text(candidate)
    if text is None:
        return []
    try:
        file = ConfigFile(candidate.path, text, KNOWN_KEYS, tolerant=True)
    except errors.SettingsError as error:  # no YAML: nothing in it can be looked at
        return [str(error)]
    found = [str(problem) for problem in file.problems]
    for key, value in file.values.items():
        advice = None if value is None else _objection(IN_FILE[key], value)
        if advice is not None:
            shown = quoted(IN_FILE[key], value)
            found.append(f"Cannot use {key} {shown} in {file.place(key)}. {advice}")
    return sorted(found, key=_line)


def problems_of_environment(environment: Mapping[str, str]) -> list[str]:
    """Return which variables hold what cannot be used."""
    found = []
    for info in schema.SETTINGS:
        for variable in info.environment:
            text = environment.get(variable, "").strip()
            advice = _objection(info, with_unit(text, info)) if text else None
            if advice is not None:
                found.append(f"Cannot use {variable} {quoted(info, text)}. {advice}")
    return found


def warnings_of_file(candidate: Candidate) -> Iterator[str]:
    """Yield what works and is still not well."""
    text = read_text(candidate)
    if text is None or not _others_may_read(candidate.path):
        return
    values = ConfigFile(candidate.path, text, KNOWN_KEYS, tolerant=True).values
    for key, value in values.items():
        if value is not None and is_secret(IN_FILE[key], value):
            yield f"{candidate.path} holds {key} and others may read it: chmod 600"


def _objection(info: declaration.SettingInfo, value: object) -> str | None:
    try:
        schema.SettingsSchema().fields[info.name].deserialize(value)
    except ValidationError as error:
        return str(error.messages[0])
    return None


def _others_may_read(path: Path) -> bool:
    return bool(path.stat().st_mode & 0o007)


def _line(problem: str) -> int:
    found = _LINE.search(problem)
    return int(found[1]) if found else 0
