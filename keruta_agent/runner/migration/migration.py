"""The migration of one installation of the old runner, as a text and a list."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from keruta_agent.core import errors
from keruta_agent.runner.migration import code as old_code
from keruta_agent.runner.migration import configuration, variables
from keruta_agent.runner.migration.finding import Finding


class Migrated(NamedTuple):
    """What came of it."""

    #: The new config file.
    text: str
    findings: list[Finding]


def migrate(
    path: Path | None,
    *,
    env_file: Path | None = None,
    code: Path | None = None,
    rewrites_code: bool = False,
) -> Migrated:
    """Return the new configuration, and what was and what has to be changed.

    Raises:
        SettingsError: a file cannot be read.
    """
    text, findings = ("", []) if path is None else configuration.rewritten(path)
    if env_file is not None:
        findings += variables.find(env_file)
    if code is not None:
        findings += old_code.find(code, rewrites=rewrites_code)
    return Migrated(text, findings)


def write(path: Path, text: str) -> None:
    """Write the new file.

    Raises:
        SettingsError: it is there already, or cannot be written.
    """
    try:
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        raise errors.SettingsError(
            f"{path} is there already", advice="Name another file, or move it away"
        ) from None
    except OSError as exc:
        raise errors.SettingsError(f"Cannot write {path}: {exc.strerror}") from exc
