"""What holds for every command: answers in words, colours only where they are wanted."""

from __future__ import annotations

import errno
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from keruta_agent.agent.store.jobs import Jobs
from keruta_agent.cli import tables
from tests.helpers.command_line import CommandLine


def test_argument_that_is_no_text_is_named_as_the_mistake(keruta: CommandLine) -> None:
    called = keruta("config", "set", "session.id", "caf\udce9")
    assert called.code == 2

    called = keruta("execute", "--detach", "--name", "caf\udce9", "true")
    assert called.code == 0

    called = keruta("queue", "pause", "--reason", "caf\udce9")
    assert called.code == 2
    assert called.err == "keruta: an argument is not UTF-8 text. Give it in UTF-8\n"


def test_file_that_is_no_text_is_shown_all_the_same(keruta: CommandLine, tmp_path: Path) -> None:
    file = tmp_path / "build.log"
    file.write_bytes(b"caf\xe9 ok")

    called = keruta("redact", "check", str(file))

    assert (called.code, called.out) == (0, "caf\ufffd ok")


def test_message_holds_nothing_that_acts_on_a_terminal(keruta: CommandLine) -> None:
    called = keruta("explain", "\x1b[31m\u202e12")

    assert called.code == 2
    assert "\x1b" not in called.err and "\u202e" not in called.err
    assert called.err.endswith("\n") and len(called.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("failure", "text"),
    [
        (sqlite3.OperationalError("database or disk is full"), "Make room on the disk"),
        (sqlite3.DatabaseError("database disk image is malformed"), "database is damaged"),
        (OSError(errno.ENOSPC, "No space left on device", "/base/x"), "cannot write /base/x"),
        (OSError(errno.EMFILE, "Too many open files"), "ulimit -n"),
        (PermissionError(errno.EACCES, "Permission denied", "/base/x"), "cannot use /base/x"),
        (RuntimeError("can't start new thread"), "ulimit -u"),
    ],
)
def test_trouble_with_disk_or_limits_is_not_called_a_bug(
    keruta: CommandLine, monkeypatch: pytest.MonkeyPatch, failure: Exception, text: str
) -> None:
    def fails(*args: object) -> None:
        raise failure

    monkeypatch.setattr(Jobs, "pause", fails)
    called = keruta("queue", "pause")
    assert called.code == 1
    assert text in called.err and "a bug in keruta" not in called.err


@pytest.mark.parametrize(
    ("typed", "meant"), [("exceute", "execute"), ("log-s", "logs"), ("progres", "progress")]
)
def test_mistyped_command_gets_the_nearest_name(
    keruta: CommandLine, typed: str, meant: str
) -> None:
    called = keruta(typed, "--whatever")

    assert called.code == 2
    assert f"No such command '{typed}'. Did you mean '{meant}'?" in called.err


@pytest.mark.parametrize(
    ("asked", "meant"),
    [(["help"], ["--help"]), (["help", "queue", "move"], ["queue", "move", "--help"])],
)
def test_help_is_understood_as_a_word(
    keruta: CommandLine, asked: list[str], meant: list[str]
) -> None:
    assert keruta(*asked) == keruta(*meant)
    assert keruta("help", "nosuch").err == "keruta: No such command 'nosuch'. See: keruta --help\n"


def test_help_of_a_group_says_what_its_commands_do_in_full(keruta: CommandLine) -> None:
    reported = keruta("queue", "--help").out.partition("Commands:")[2]
    assert "another priority: higher runs first, the older first among equals. pause " in (
        " ".join(reported.split())
    )


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        (("queue", "move", "1", "x"), "'x' is not a whole number. See: keruta queue move --help"),
        (("status", "--watch", "x"), "'x' is not a number. See: keruta status --help"),
        (("version", "x"), "Got unexpected extra argument (x). See: keruta version --help"),
        (("server", "--pool-size", "3"), "none is served. Give --runner-services as well"),
    ],
)
def test_wrong_argument_is_named_in_plain_words(
    keruta: CommandLine, command: tuple[str, ...], complaint: str
) -> None:
    called = keruta(*command)
    assert called.code == 2
    assert called.err.endswith(f"{complaint}\n") and called.err.count("\n") == 1


def test_priority_below_zero_needs_no_dashes(keruta: CommandLine) -> None:
    keruta("execute", "--detach", "true")
    assert keruta("queue", "move", "1", "-5").out == "job 1 has priority -5 now, place 1 of 1\n"


@pytest.mark.parametrize(
    ("variables", "coloured"),
    [
        ({}, False),
        ({"FORCE_COLOR": "1"}, True),
        ({"FORCE_COLOR": "0"}, False),
        ({"FORCE_COLOR": "1", "NO_COLOR": "1"}, False),
    ],
)
def test_table_in_a_pipe_is_plain_unless_colours_are_asked_for(
    keruta: CommandLine,
    monkeypatch: pytest.MonkeyPatch,
    variables: dict[str, str],
    coloured: bool,
) -> None:
    keruta("execute", "--detach", "true")
    keruta("queue", "cancel", "1")
    for name in ("NO_COLOR", "FORCE_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)

    called = keruta("queue", "list")

    assert ("\x1b[33mcancelled" in called.out) is coloured
    assert ("\x1b" in called.out) is coloured
    assert "cancelled" in called.out


def test_table_keeps_its_columns_under_wide_and_odd_characters(
    capsys: pytest.CaptureFixture[str],
) -> None:
    tables.print_table(("A", "STATE", "B"), [("日本", "failed", ""), ("a\x1bb", "odd", "x")])

    assert capsys.readouterr().out == "A     STATE   B\n日本  failed\na\ufffdb   odd     x\n"


def test_overview_is_cut_to_the_columns_of_a_terminal(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tables, "_columns", lambda: 40)
    rows = [("1", "日本語" * 10, "m" * 50), ("12", "short", "")]

    tables.print_table(("JOB", "NAME", "MESSAGE"), rows, is_overview=True)
    *_, last = cut = capsys.readouterr().out.splitlines()
    tables.print_table(("JOB", "NAME", "MESSAGE"), rows)
    whole = capsys.readouterr().out

    assert max(map(tables.display_width, cut)) == 40
    assert last == "12   short"
    assert "m" * 50 in whole


@pytest.mark.parametrize(
    "command",
    [
        ("queue", "list"),
        ("queue", "show", "1"),
        ("queue", "pause"),
        ("queue", "resume"),
        ("input",),
        ("explain", "1"),
        ("explain", "9"),
        ("workspace", "status"),
        ("artifact", "list", "1"),
    ],
)
def test_command_closes_the_databases_that_it_opened(
    keruta: CommandLine, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    keruta("execute", "--detach", "true")
    opened: list[sqlite3.Connection] = []
    connect = sqlite3.connect

    def remembering(*arguments: Any, **options: Any) -> sqlite3.Connection:
        opened.append(connect(*arguments, **options))
        return opened[-1]

    monkeypatch.setattr(sqlite3, "connect", remembering)

    keruta(*command)

    assert opened
    for connection in opened:
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            connection.execute("SELECT 1")
