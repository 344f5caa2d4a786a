"""A shell is offered jobs, tasks, keys and values; where there are none, nothing, and no error."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import pytest

from keruta_agent.agent.store.jobs import Work
from keruta_agent.agent.store.store import Records
from keruta_agent.cli import main
from keruta_agent.core.model import Task
from tests.helpers.command_line import CommandLine


@pytest.fixture
def home(keruta: CommandLine) -> Path:
    """A home directory in which an agent has run."""
    records = Records.open(keruta.home / ".keruta")
    work = Work(script="true", directory="/", environment={})
    records.jobs.record_script("build all", work, priority=0)
    records.jobs.record_task(
        Task(id="task-日本", session_id="s", name="greet: x,y", script="true", priority=0)
    )
    records.close()
    return keruta.home


def offered(monkeypatch: pytest.MonkeyPatch, *words: str, kind: str = "plain") -> list[str]:
    """Return what bash is offered for the last word."""
    monkeypatch.setenv("_KERUTA_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", " ".join(("keruta", *words)))
    monkeypatch.setenv("COMP_CWORD", str(len(words)))
    out = io.TextIOWrapper(io.BytesIO(), "utf-8")
    monkeypatch.setattr(sys, "stdout", out)
    with pytest.raises(SystemExit):
        main.cli.main(args=[], prog_name="keruta")
    out.seek(0)
    found = [line.partition(",") for line in out.read().split()]
    assert {each[0] for each in found} <= {kind}
    return [each[2] for each in found]


@pytest.mark.parametrize(
    ("words", "wanted"),
    [
        (("logs", ""), ["2", "task-日本", "1"]),
        (("explain", "t"), ["task-日本"]),
        (("queue", "cancel", "1"), ["1"]),
        (("progress", "--task-id", ""), ["task-日本"]),
        (("config", "set", "api.u"), ["api.url"]),
        (("config", "unset", "runs.keep_s"), ["runs.keep_size"]),
        (("config", "set", "api.events", "t"), ["true"]),
        (("config", "set", "logging.level", ""), ["DEBUG", "INFO", "WARN", "ERROR"]),
        (("config", "set", "session.id", ""), []),
        (("log", "wa"), ["WARN"]),
        (("logs", "--level", "F"), ["FATAL"]),
    ],
)
def test_shell_is_offered_what_fits(
    home: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], wanted: list[str]
) -> None:
    assert offered(monkeypatch, *words) == wanted


@pytest.mark.parametrize(
    "words",
    [
        ("execute", "./my-s"),
        ("execute", "make", "Makef"),
        ("artifact", "add", "report"),
        ("artifact", "add", "report.pdf", "log"),
        ("artifact", "remove", "report"),
    ],
)
def test_shell_offers_files_itself(
    keruta: CommandLine, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]
) -> None:
    assert offered(monkeypatch, *words, kind="file") == [words[-1]]


@pytest.mark.parametrize("spoil", ["nothing", "no database", "no config", "empty"])
def test_shell_is_offered_nothing_where_nothing_can_be_read(
    keruta: CommandLine, monkeypatch: pytest.MonkeyPatch, spoil: str
) -> None:
    base = keruta.home / ".keruta"
    if spoil != "nothing":
        base.mkdir()
    if spoil == "no database":
        (base / "agent.db").write_text("this is no database")
    elif spoil == "no config":
        keruta.config.write_text("api: [")
    elif spoil == "empty":
        (base / "agent.db").touch()
    before = sorted(keruta.home.rglob("*"))

    assert offered(monkeypatch, "logs", "") == []

    assert sorted(keruta.home.rglob("*")) == before
