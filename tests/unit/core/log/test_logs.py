"""The agent's log as text: an event is a line, whatever somebody else wrote into its names."""

from __future__ import annotations

import io
import logging
from collections.abc import Iterator

import pytest

from keruta_agent.core.log import logs

NAME = "build\n2026-01-01 00:00:00,000 INFO    job 1 ended\x1b]0;owned\x07\u202e日本"


@pytest.fixture
def log(monkeypatch: pytest.MonkeyPatch) -> Iterator[io.StringIO]:
    root = logging.getLogger()
    before = list(root.handlers), root.level, logging.getLogger("keruta_agent").level
    written = io.StringIO()
    monkeypatch.setattr("sys.stderr", written)
    logs.set_up(level="INFO", format="text")
    yield written
    root.handlers[:], level, ours = before
    root.setLevel(level)
    logging.getLogger("keruta_agent").setLevel(ours)


def test_name_neither_forges_an_event_nor_acts_on_the_terminal(log: io.StringIO) -> None:
    logging.getLogger("keruta_agent.x").info("job %d started: %s", 7, NAME)

    (line,) = log.getvalue().splitlines()
    assert line.endswith(
        "INFO    job 7 started: build\\n2026-01-01 00:00:00,000 INFO    job 1 ended"
        "\\x1b]0;owned\\x07\\u202e日本"
    )


def test_traceback_keeps_its_lines(log: io.StringIO) -> None:
    try:
        raise ValueError("first\nsecond")
    except ValueError:
        logging.getLogger("keruta_agent.x").exception("it failed")

    lines = log.getvalue().splitlines()
    assert lines[0].endswith("it failed")
    assert lines[1] == "Traceback (most recent call last):"
