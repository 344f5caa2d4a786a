"""Whatever a person types, keruta answers in words: no traceback, and no exit code of a bug.

``--hypothesis-profile=long`` tries 500 (a minute); a few are tried always.
"""

from __future__ import annotations

import gc
import io
import os
import shlex
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple, NoReturn

import click
import pytest
from hypothesis import HealthCheck, given, note, settings
from hypothesis import strategies as st

from keruta_agent.agent.store.jobs import Work
from keruta_agent.agent.store.store import Records
from keruta_agent.cli import entry, main
from keruta_agent.core import errors


def exit_codes(kind: type[errors.KerutaError]) -> set[int]:
    return {kind.exit_code}.union(*(exit_codes(child) for child in kind.__subclasses__()))


#: Every exit code that the help names, but that of a bug.
ANSWERS = {0, *exit_codes(errors.KerutaError)}

#: What a command gets before all else, lest it begins to serve, or to run scripts of this machine.
HARMLESS = {
    "daemon": ("--poll-interval", "never"),
    "demo": ("--no-such-option",),
    "execute": ("--detach",),
    "server": ("--port", "no-port"),
}
#: Options that make a command go on for ever, or undo what keeps it harmless.
NOT_TRIED = {
    "--follow",
    "-f",
    "--keep",
    "--poll-interval",
    "--port",
    "--soak",
    "--wait",
    "--watch",
}
#: Commands that serve whatever they are given.
NOT_CALLED = {"runner"}

VALUES = st.one_of(
    st.sampled_from(
        (
            *("", " ", "-", "--", "-1", "0", "1", "2", "3", "50", "101", "1e9", "nan", "٣", "²"),
            *("9" * 30, "-" + "9" * 30, "x" * 70_000, "a=b", "=", "=b", "a=", "50%", "%"),
            *("INFO", "error", "api.url", "api.token", "api.timeout", "repo_pool_url", "30s"),
            *(".", "..", "/dev/null", "/nonexistent/x", "script.sh", "data.bin", "~", "~nobody"),
            *("http://127.0.0.1:9", "http://[", "ftp://x", "http://u:p@h", "task-1", "no-task"),
            *("日本語", "\u202eabc", "\x1b[31m", "a\nb", "a\tb", "\r", "\udcff", "é\udc80", "🎉"),
            *("true", "$(id)", "`id`", "'", '"', "\\", ";", "|", "*", "{}", "[]", "[", "{"),
        )
    ),
    st.text(
        st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12
    ),
)


class Command(NamedTuple):
    """A command, with what it can be given."""

    path: tuple[str, ...]
    switches: tuple[str, ...]
    options: tuple[str, ...]
    arguments: int


def commands(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[Command]:
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name)) if name not in NOT_CALLED else ()
        elif command is not None:
            found = [each for each in command.params if isinstance(each, click.Option)]
            names = {
                name: option.is_flag or option.count
                for option in found
                for name in (*option.opts, *option.secondary_opts)
                if name not in NOT_TRIED
            }
            yield Command(
                path=(*path, name),
                switches=(*(name for name, is_flag in names.items() if is_flag), "--help"),
                options=tuple(name for name, is_flag in names.items() if not is_flag),
                arguments=sum(isinstance(each, click.Argument) for each in command.params),
            )


COMMANDS = list(commands(main.cli))


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """Draw a command line that is nearly right, or not at all."""
    if draw(st.integers(0, 19)) == 0:
        line = draw(st.lists(VALUES, max_size=3))
        # A value may be the name of a command that must not be called as it is.
        return [word for word in line if word not in main.COMMANDS]
    command = draw(st.sampled_from(COMMANDS))
    given = [draw(VALUES) for _ in range(command.arguments)]
    if draw(st.integers(0, 4)) == 0:
        given = draw(st.lists(VALUES, max_size=4))
    for _ in range(draw(st.integers(0, 3))):
        place = draw(st.integers(0, len(given)))
        if command.options and draw(st.booleans()):
            given[place:place] = [draw(st.sampled_from(command.options)), draw(VALUES)]
        else:
            given.insert(place, draw(st.sampled_from(command.switches)))
    before = draw(st.sampled_from(((), (), (), ("--config", draw(VALUES)))))
    return [*before, *command.path, *HARMLESS.get(command.path[0], ()), *given]


class Answer(NamedTuple):
    """What came of a command line."""

    code: int
    out: str
    err: str


class Machine:
    """A home directory with an agent's records in it, made anew for each command line."""

    def __init__(self, directory: Path) -> None:
        self._pattern = directory / "pattern"
        self._pattern.mkdir()
        base = self._pattern / ".keruta"
        records = Records.open(base)
        for number in range(3):
            work = Work(script="true", directory="/", environment={})
            records.jobs.record_script(f"job {number}", work, priority=0)
        records.close()
        (base / "config.yaml").write_text("# mine\napi:\n  timeout: 5s\nlogging: {level: INFO}\n")
        (self._pattern / "script.sh").write_text("echo hello\n")
        (self._pattern / "data.bin").write_bytes(bytes(range(256)))
        run = self._pattern / "run"
        run.mkdir()
        (run / "agent").touch()
        self._directory = directory

    def call(self, arguments: Sequence[str], stdin: str, *, in_run: bool) -> Answer:
        """Call keruta as the installed program does."""
        home = Path(tempfile.mkdtemp(dir=self._directory))
        shutil.copytree(self._pattern, home, dirs_exist_ok=True)
        environment = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8"}
        environment["KERUTA_BASE_DIR"] = str(home / ".keruta")
        if in_run:
            run = home / "run"
            environment |= {"KERUTA_RUN_TOKEN": "t", "KERUTA_RUN_UID": "u"}
            environment |= {"KERUTA_RUN_DIR": str(run), "KERUTA_SOCKET": str(run / "no.sock")}
        out, err = io.BytesIO(), io.BytesIO()
        with pytest.MonkeyPatch.context() as patch:
            for name in os.environ:
                patch.delenv(name)
            for name, value in environment.items():
                patch.setenv(name, value)
            patch.chdir(home)
            patch.setattr(sys, "argv", ["keruta", *arguments])
            # As Python opens them: what is no text is an error on standard output.
            data = io.BytesIO(stdin.encode("utf-8", "surrogateescape"))
            patch.setattr(sys, "stdin", io.TextIOWrapper(data, "utf-8"))
            written = io.TextIOWrapper(out, "utf-8", "strict")
            complained = io.TextIOWrapper(err, "utf-8", "backslashreplace")
            patch.setattr(sys, "stdout", written)
            patch.setattr(sys, "stderr", complained)
            for name in ("disable", "freeze"):  # this process goes on
                patch.setattr(gc, name, lambda: None)
            patch.setattr(socket.socket, "connect", _refuse)
            patch.setattr(socket, "getaddrinfo", _unknown)
            code = entry.main()
            written.flush()
            complained.flush()
            answer = Answer(code, out.getvalue().decode(), err.getvalue().decode())
        shutil.rmtree(home)
        return answer


def _refuse(self: socket.socket, address: object) -> NoReturn:
    raise ConnectionRefusedError(111, "Connection refused")


def _unknown(*_: object, **__: object) -> NoReturn:
    raise socket.gaierror(-2, "Name or service not known")


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    yield Machine(tmp_path_factory.mktemp("machine"))


@pytest.mark.timeout(600)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(command_lines(), VALUES, st.booleans())
def test_any_command_line_is_answered_in_words(
    machine: Machine, arguments: list[str], stdin: str, in_run: bool
) -> None:
    note(f"keruta {shlex.join(arguments)[:500]}")

    answer = machine.call(arguments, stdin, in_run=in_run)

    note(answer.err[:2000])
    assert answer.code in ANSWERS
    assert "Traceback" not in answer.err or "--verbose" in arguments
    if answer.code == 2 and arguments:
        assert "keruta: " in answer.err or "Usage: " in answer.err


def test_command_lines_reach_every_command() -> None:
    assert {command.path[0] for command in COMMANDS} == set(main.COMMANDS) - NOT_CALLED
