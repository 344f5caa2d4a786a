"""Messages of a script to the agent, and which are refused."""

from __future__ import annotations

import json

import pytest

from keruta_agent.agent.run import messages
from keruta_agent.agent.run.messages import EndMessage, LogMessage, ProgressMessage, append, parse
from keruta_agent.core.model import LogLevel, TaskStatus


def test_messages_are_read():
    assert parse('{"kind": "progress", "percent": 50, "message": "半分"}') == ProgressMessage(
        percent=50, message="半分"
    )
    assert parse('{"kind": "log", "level": "warning", "message": "m", "fields": {"a": 1}}') == (
        LogMessage(level=LogLevel.WARN, message="m", fields={"a": 1})
    )
    end = {"kind": "end", "status": "FAILED", "message": "m", "error_code": "E", "auto_fix": False}
    assert parse(json.dumps(end)) == EndMessage(
        status=TaskStatus.FAILED, message="m", error_code="E", auto_fix=False, artifacts_dir=None
    )


@pytest.mark.parametrize(
    "line",
    [
        "",
        "nonsense",
        "[]",
        "{}",
        '{"kind": "dance"}',
        '{"kind": "progress"}',
        '{"kind": "progress", "percent": 101}',
        '{"kind": "progress", "percent": -1}',
        '{"kind": "progress", "percent": "50"}',
        '{"kind": "log", "level": "LOUD", "message": "m"}',
        '{"kind": "log", "level": "INFO", "message": "m", "fields": 5}',
        '{"kind": "end", "status": "PENDING"}',
        '{"kind": "end", "status": "PROCESSING"}',
    ],
)
def test_nonsense_is_refused(line):
    with pytest.raises(ValueError, match=r".+"):
        parse(line)


def test_appended_message_is_one_line(tmp_path):
    file = tmp_path / "agent"
    file.touch()
    append(file, '{"kind": "log"}\n')
    append(file, '{"kind": "end"}')
    assert file.read_text() == '{"kind": "log"}\n{"kind": "end"}\n'


def test_message_for_a_run_that_is_over_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError):
        append(tmp_path / "gone", "{}")


def test_message_too_long_to_be_written_at_once_is_refused(tmp_path):
    file = tmp_path / "agent"
    file.touch()
    with pytest.raises(ValueError, match="bytes"):
        append(file, "x" * (messages.LONGEST_MESSAGE + 1))
    assert file.read_text() == ""


@pytest.mark.parametrize("place", ["message", "error_code", "artifacts_dir"])
def test_half_a_character_is_refused_before_a_database_would(place: str) -> None:
    reported = {"kind": "end", "status": "FAILED", place: "\ud800"}
    with pytest.raises(ValueError, match="text"):
        parse(json.dumps(reported))
