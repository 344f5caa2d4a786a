"""How ``keruta config`` changes and checks a file, and what it says about that."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

import click

from keruta_agent.cli import reload_hint
from keruta_agent.core import errors
from keruta_agent.core.settings import checking, store
from keruta_agent.core.settings.config_file import Candidate
from keruta_agent.core.settings.declaration import SettingInfo
from keruta_agent.core.settings.edited import EditedFile
from keruta_agent.core.settings.fields import MASK
from keruta_agent.core.settings.given import is_secret, setting_of, value_to_write
from keruta_agent.core.settings.sources import KNOWN_KEYS, config_candidates

#: Characters of a value that are read from standard input.
LONGEST_VALUE: Final = 64 * 1024


def set_value(config_path: Path | None, key: str, value: str) -> None:
    """Write a value into the config file.

    Raises:
        NotFound: there is no such setting.
        SettingsError: the value or the file cannot be used.
        UsageError: a secret stands on the command line.
    """
    info, is_variable = _known(key)
    text = _from_input(info) if value == "-" else value
    written = value_to_write(info, text, of_variable=is_variable)
    secret = is_secret(info, written)
    if secret and value != "-":
        raise errors.UsageError(
            "a secret does not belong on the command line, where other users can see it",
            advice=f"Give it to: keruta config set {info.key} -",
        )
    path = store.file_to_change(config_path, os.environ)

    def edit(text: str) -> str:
        file = EditedFile(path, text, KNOWN_KEYS)
        file.set(str(info.key), written)
        return file.text

    base_dir = reload_hint.base_dir_in_force(config_path)
    store.change(path, edit, private=secret)
    click.echo(f"{info.key} = {MASK if secret else _shown(written)} in {path}")
    _warn_of_variables(info)
    reload_hint.print_hint(base_dir)


def unset(config_path: Path | None, key: str) -> None:
    """Take a key out of the config file.

    Raises:
        NotFound: there is no such setting.
        SettingsError: the file cannot be used.
    """
    info, _ = _known(key)
    path = store.file_to_change(config_path, os.environ)
    was_there = False

    def edit(text: str) -> str:
        nonlocal was_there
        file = EditedFile(path, text, KNOWN_KEYS)
        was_there = file.unset(str(info.key))
        return file.text

    base_dir = reload_hint.base_dir_in_force(config_path)
    store.change(path, edit, create=False)
    click.echo(f"{info.key} {'is no longer set' if was_there else 'was not set'} in {path}")
    _warn_of_variables(info)
    if was_there:
        reload_hint.print_hint(base_dir)


def check(config_path: Path | None, file: Path | None) -> int:
    """Print all that is wrong; return the exit code.

    Raises:
        SettingsError: a file that was named cannot be read.
    """
    if file is not None:
        candidates: tuple[Candidate, ...] = (Candidate(file, "the command line"),)
        problems = []
    else:
        candidates = config_candidates(config_path, os.environ)
        problems = checking.problems_of_environment(os.environ)
    used = next((each for each in candidates if each.origin or each.path.exists()), None)
    if used is not None:
        problems = checking.problems_of_file(used) + problems
        for warning in checking.warnings_of_file(used) if not problems else ():
            click.echo(f"warning: {warning}", err=True)
    for problem in problems:
        click.echo(problem)
    where = "there is no config file" if used is None else str(used.path)
    if not problems:
        click.echo(f"{where}: all settings can be used")
        return 0
    number = "one problem" if len(problems) == 1 else f"{len(problems)} problems"
    click.echo(f"keruta: {where}: {number}", err=True)
    return errors.SettingsError.exit_code


def _known(key: str) -> tuple[SettingInfo, bool]:
    info, is_variable = setting_of(key)
    if key != info.key:
        click.echo(f"keruta: in the file {key} is {info.key}", err=True)
    return info, is_variable


def _from_input(info: SettingInfo) -> str:
    if sys.stdin.isatty():
        return str(click.prompt(str(info.key), hide_input=info.secret, err=True))
    text = sys.stdin.read(LONGEST_VALUE + 1)
    if len(text) > LONGEST_VALUE:
        raise errors.UsageError(f"the value of {info.key} is too long")
    return text.strip("\r\n")


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _warn_of_variables(info: SettingInfo) -> None:
    for variable in info.environment:
        if os.environ.get(variable, "").strip():
            click.echo(
                f"keruta: the variable {variable} is set here, and wins over the file", err=True
            )
