"""Options that several commands share, and how settings are loaded for a command."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final, TypeVar

import click

from keruta_agent.cli import completion
from keruta_agent.cli.main import Invocation
from keruta_agent.core import errors

if TYPE_CHECKING:
    import pathlib

    from keruta_agent.core.model import LogLevel
    from keruta_agent.core.settings.sources import LoadedSettings

#: Priorities as the database and other programs can hold them.
PRIORITY: Final = click.IntRange(-(2**31), 2**31 - 1)


class Group(click.Group):
    """A group whose help has the summaries of its commands in full."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands; click itself cuts what takes more than one line."""
        if not self.commands:
            return
        with formatter.section("Commands"):
            formatter.write_dl(
                [
                    (name, command.get_short_help_str(LONGEST_SUMMARY))
                    for name, command in sorted(self.commands.items())
                ]
            )


class PathType(click.Path):
    """A path, as an object that is loaded with the first one."""

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> pathlib.Path:
        """Check the path and return it."""
        from pathlib import Path

        return Path(os.fsdecode(super().convert(value, param, ctx)))


#: Characters of a summary.
LONGEST_SUMMARY: Final = 500

_Command = TypeVar("_Command", bound=Callable[..., Any])


def load(ctx: click.Context, **flags: object | None) -> LoadedSettings:
    """Load the settings; flags that were not given are None.

    Raises:
        SettingsError: a setting is wrong.
    """
    from keruta_agent.core.settings.sources import load_settings

    if _invocation(ctx).verbose:
        from keruta_agent.core.log import logs

        flags.setdefault("log_level", "DEBUG")
        logs.set_up(level="DEBUG", format="text")
    return load_settings(flags, config_path=config_path(ctx))


def config_path(ctx: click.Context) -> pathlib.Path | None:
    """Return the file of ``--config``."""
    from pathlib import Path

    named = _invocation(ctx).config_path
    return None if named is None else Path(named)


def _invocation(ctx: click.Context) -> Invocation:
    return ctx.find_object(Invocation) or Invocation(config_path=None, verbose=False)


def level_of(text: str) -> LogLevel:
    """Return the log level that a person names.

    Raises:
        UsageError: there is no such level.
    """
    from keruta_agent.core.model import LogLevel, parse_log_level

    try:
        return parse_log_level(text)
    except ValueError as exc:
        raise errors.UsageError(
            f"{text} is no log level", advice=f"Use one of {', '.join(LogLevel)}"
        ) from exc


def print_json(value: object) -> None:
    """Print a value for programs."""
    import json

    click.echo(json.dumps(value, ensure_ascii=False, indent=2, default=str))


def json_option(command: _Command) -> _Command:
    """Add ``--json``."""
    return click.option("--json", "as_json", is_flag=True, help="Print JSON for programs.")(command)


def api_options(command: _Command) -> _Command:
    """Add the options that name the API and the log level."""
    for option in (
        click.option("--log-level", metavar="LEVEL", help="DEBUG, INFO, WARN or ERROR."),
        click.option("--api-url", metavar="URL", help="The keruta API."),
    ):
        command = option(command)
    return command


def task_option(command: _Command) -> _Command:
    """Add ``--task-id``."""
    return click.option(
        "--task-id",
        metavar="ID",
        shell_complete=completion.tasks,
        help="The task, if not that of KERUTA_TASK_ID.",
    )(command)
