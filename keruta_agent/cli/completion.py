"""What a shell may offer for an argument: jobs, tasks, keys and values of settings.

A person who presses Tab wants no error and no wait: what cannot be read is not offered, and
nothing is created.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

import click

if TYPE_CHECKING:
    from pathlib import Path

    from click.shell_completion import CompletionItem

#: Jobs and tasks that are offered, the newest first.
MOST: Final = 50


def jobs(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer numbers of jobs with their names, and the ids of their tasks."""
    found = []
    for number, task_id, name, state in _rows(ctx):
        about = f"{state}: {name[:60]}"
        found += [
            _item(value, about)
            for value in (str(number), task_id)
            if value and value.startswith(incomplete)
        ]
    return found


def tasks(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the ids of tasks that the agent has taken up."""
    return [
        _item(task_id, f"{state}: {name[:60]}")
        for _, task_id, name, state in _rows(ctx)
        if task_id and task_id.startswith(incomplete)
    ]


def keys(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the keys of settings."""
    from keruta_agent.core.settings import schema

    return [
        _item(info.key, info.help)
        for info in schema.SETTINGS
        if info.key is not None and info.key.startswith(incomplete)
    ]


def values(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the words that the setting named before may have."""
    from keruta_agent.core.settings import fields, schema

    wanted = ctx.params.get("key")
    words: tuple[str, ...] = ()
    for info in schema.SETTINGS:
        if info.key is not None and info.key == wanted:
            field = schema.SettingsSchema().fields[info.name]
            if isinstance(field, fields.Choice):
                words = field.words
            elif isinstance(field, fields.YesNo):
                words = ("true", "false")
    return [_item(word) for word in words if word.startswith(incomplete)]


def files(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Make the shell offer files, as it does by itself for other programs."""
    from click.shell_completion import CompletionItem

    return [CompletionItem(incomplete, type="file")]


def levels(ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the levels of a task's log."""
    from keruta_agent.core.model import LogLevel

    return [_item(level.value) for level in LogLevel if level.value.startswith(incomplete.upper())]


def _item(value: str, about: str | None = None) -> CompletionItem:
    from click.shell_completion import CompletionItem

    return CompletionItem(value, help=about)


def _rows(ctx: click.Context) -> Iterator[tuple[int, str | None, str, str]]:
    import contextlib
    import sqlite3
    import urllib.parse

    from keruta_agent.core import errors

    with contextlib.suppress(errors.KerutaError, sqlite3.Error, OSError, ValueError):
        # Read only and as it is: no file is made, and a database of another version is no error.
        address = urllib.parse.quote(os.fspath(_database(ctx)))
        connection = sqlite3.connect(f"file:{address}?mode=ro", uri=True, timeout=0.2)
        with contextlib.closing(connection):
            yield from connection.execute(
                "SELECT id, task_id, name, coalesce(outcome, state) FROM jobs"
                " ORDER BY id DESC LIMIT ?",
                (MOST,),
            ).fetchall()


def _database(ctx: click.Context) -> Path:
    from keruta_agent.agent.store.sqlite.database import DATABASE_NAME
    from keruta_agent.cli.options import load

    return load(ctx).settings.base_dir / DATABASE_NAME
