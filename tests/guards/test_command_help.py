"""Guards that each command explains itself with examples that are true, and starts quickly."""

from __future__ import annotations

import inspect
import itertools
import os
import shlex
import subprocess
import sys

import click
import pytest

from keruta_agent.cli import completion, main

#: What a command loads for its work, not for its start: click alone takes four fifths of the
#: time that a start may take.
HEAVY = {
    "asyncio",
    "backoff",
    "http.client",
    "huey",
    "jinja2",
    "logging",
    "marshmallow",
    "peewee",
    "psutil",
    "puremagic",
    "pythonjsonlogger",
    "requests",
    "ruamel.yaml",
    "sh",
    "sqlite3",
    "starlette",
    "urllib3",
    "uvicorn",
}


def leaves(group: click.Group, parent: click.Context) -> list[click.Context]:
    """Return a context for every command below a group that is no group itself."""
    found = []
    for name in group.list_commands(parent):
        command = group.get_command(parent, name)
        assert command is not None
        context = click.Context(command, info_name=name, parent=parent, **command.context_settings)
        if isinstance(command, click.Group):
            found += leaves(command, context)
        else:
            found.append(context)
    return found


LEAVES = leaves(main.cli, click.Context(main.cli, info_name="keruta"))


def examples_of(context: click.Context) -> list[str]:
    lines = inspect.cleandoc(context.command.help or "").splitlines()
    start = lines.index("Examples:") + 1 if "Examples:" in lines else len(lines)
    shown = []
    for line in lines[start:]:
        if not line.startswith("  "):
            break
        shown.append(line.strip())
    return shown


def words_of(context: click.Context, example: str) -> list[str] | None:
    """Return what an example gives to its command; None when it calls another one."""
    words = shlex.split(example)
    path = context.command_path.split()
    for start in range(len(words)):
        if words[start : start + len(path)] == path:
            rest = words[start + len(path) :]
            return list(itertools.takewhile(lambda word: word not in ("|", ">", "&"), rest))
    # Within what a trap is to do.
    inner = [word for word in words if context.command_path in word]
    return words_of(context, inner[0]) if inner else None


@pytest.mark.parametrize("context", LEAVES, ids=lambda context: context.command_path)
def test_help_of_command_has_examples_whose_options_exist(context: click.Context) -> None:
    examples = examples_of(context)
    assert examples, f"the docstring of {context.command_path} wants a block 'Examples:'"

    for example in examples:
        words = words_of(context, example)
        assert words is not None, f"{example} does not call {context.command_path}"
        # The parser knows options and the number of arguments; values, files say, are not there.
        _, left_over, _ = context.command.make_parser(context).parse_args(words)
        assert left_over == [], f"{example} has more arguments than {context.command_path} takes"


def test_summaries_of_commands_are_those_of_their_help() -> None:
    context = click.Context(main.cli)
    written = {}
    for name in main.COMMANDS:
        command = main.cli.get_command(context, name)
        assert command is not None
        written[name] = command.get_short_help_str(200)

    assert written == main.SUMMARIES


def test_commands_load_their_libraries_only_when_they_need_them() -> None:
    """Each module of a command is loaded for its help too, which is to come at once."""
    code = (
        "import importlib, sys\n"
        "from keruta_agent.cli.main import COMMANDS\n"
        "for place in COMMANDS.values():\n"
        "    importlib.import_module(place.partition(':')[0])\n"
        "    print(place.partition(':')[0], *sys.modules)\n"
        f"    wrong = {HEAVY!r} & set(sys.modules)\n"
        "    assert not wrong, (place, wrong)\n"
    )
    result = subprocess.run(
        # Without site, which loads more for an editable installation than a wheel's commands do.
        [sys.executable, "-S", "-c", code],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        encoding="utf-8",
        check=False,
    )

    assert result.returncode == 0, result.stderr
    assert len(result.stdout.splitlines()) == len(main.COMMANDS)


@pytest.mark.parametrize("context", LEAVES, ids=lambda context: context.command_path)
def test_arguments_that_name_jobs_tasks_and_keys_are_completed(context: click.Context) -> None:
    wanted = {"job": completion.jobs, "task_id": completion.tasks, "key": completion.keys}
    for param in context.command.params:
        if param.name in wanted:
            assert param._custom_shell_complete is wanted[param.name], param.name
