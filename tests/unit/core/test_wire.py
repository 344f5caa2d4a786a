"""Reading whatever servers write, and writing what all of them read."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from marshmallow import ValidationError

from keruta_agent.core import wire
from keruta_agent.core.model import LogEntry, LogLevel, Script, Session, Task, TaskStatus

_MOMENTS = st.datetimes(
    min_value=datetime(1990, 1, 1), max_value=datetime(2100, 1, 1), timezones=st.just(UTC)
)
_OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=8) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


def _spring_array(moment: datetime) -> list[int]:
    """Write a date as Jackson does: trailing seconds and nanoseconds are left out when zero."""
    parts = [moment.year, moment.month, moment.day, moment.hour, moment.minute]
    if moment.second or moment.microsecond:
        parts.append(moment.second)
    if moment.microsecond:
        parts.append(moment.microsecond * 1000)
    return parts


@given(_MOMENTS)
def test_date_survives_writing_and_reading(moment: datetime) -> None:
    assert wire.parse_date(wire.format_date(moment)) == moment


@given(_MOMENTS)
def test_date_reads_arrays_of_any_length(moment: datetime) -> None:
    array = _spring_array(moment)

    assert 5 <= len(array) <= 7
    assert wire.parse_date(array) == moment


@given(_MOMENTS, _OFFSETS)
def test_date_reads_iso_with_any_offset(moment: datetime, offset: timezone) -> None:
    assert wire.parse_date(moment.astimezone(offset).isoformat()) == moment


@given(_MOMENTS, st.integers(0, 9))
def test_date_reads_up_to_nine_fraction_digits(moment: datetime, digits: int) -> None:
    fraction = f"{moment.microsecond:06d}999"[:digits]
    text = moment.strftime("%Y-%m-%dT%H:%M:%S") + (f".{fraction}" if fraction else "")

    kept = int(fraction[:6].ljust(6, "0")) if fraction else 0
    assert wire.parse_date(text) == moment.replace(microsecond=kept)
    assert wire.parse_date(f"{text}Z") == moment.replace(microsecond=kept)


@given(_MOMENTS)
def test_date_reads_epoch_seconds_and_milliseconds(moment: datetime) -> None:
    seconds = moment.timestamp()
    milliseconds = int(seconds * 1000)

    assert abs(wire.parse_date(seconds) - moment) < timedelta(milliseconds=1)  # type: ignore[operator]
    # Milliseconds of the first years after 1970 look like seconds; no server is that old.
    assert abs(wire.parse_date(milliseconds) - moment) <= timedelta(milliseconds=1)  # type: ignore[operator]


@pytest.mark.parametrize("raw", [None, True, "", "soon", [], [2025], [2025, 13, 1], {}, 1e300])
def test_invalid_date_counts_as_missing(raw: object) -> None:
    assert wire.parse_date(raw) is None


@given(_JSON)
def test_date_never_raises(raw: Any) -> None:
    found = wire.parse_date(raw)

    assert found is None or found.tzinfo is not None


@given(_JSON)
def test_task_with_any_date_can_still_be_read(raw: Any) -> None:
    task = wire.load(wire.TaskSchema(), {"id": "t", "createdAt": raw, "updatedAt": raw}, Task)

    assert task.id == "t"


@given(_JSON)
def test_task_of_any_json_is_read_or_refused_as_invalid(body: Any) -> None:
    try:
        task = wire.load(wire.TaskSchema(), body, Task)
    except ValidationError:
        return
    assert isinstance(task, Task)


def test_task_of_the_spring_server_is_read() -> None:
    body = {
        "id": "6f0c1c1e-2d1b-4a5e-9c53-0b8d5f1f7a10",
        "sessionId": "29229ea1-8c41-4ca2-b064-7a7a7672dd1a",
        "parentTaskId": None,
        "name": "Build project",
        "title": "Build project",
        "description": "",
        "script": "echo hi\n",
        "status": "IN_PROGRESS",
        "message": "",
        "progress": 40,
        "errorCode": "",
        "parameters": {"a": 1},
        "createdAt": [2025, 9, 30, 13, 46, 20, 123000000],
        "updatedAt": [2025, 9, 30, 13, 46],
    }

    task = wire.load(wire.TaskSchema(), body, Task)

    assert task == Task(
        id="6f0c1c1e-2d1b-4a5e-9c53-0b8d5f1f7a10",
        session_id="29229ea1-8c41-4ca2-b064-7a7a7672dd1a",
        name="Build project",
        script="echo hi\n",
        status=TaskStatus.PROCESSING,
        progress=40,
        parameters={"a": 1},
        created_at=datetime(2025, 9, 30, 13, 46, 20, 123000, tzinfo=UTC),
        updated_at=datetime(2025, 9, 30, 13, 46, tzinfo=UTC),
    )


def test_task_of_the_older_server_is_read() -> None:
    body = {
        "id": "t",
        "title": "old",
        "description": None,
        "errorMessage": "boom",
        "errorCode": None,
        "workspaceId": "w",
        "tags": [],
        "dependsOn": ["x"],
        "priority": 7,
        "status": "retrying",
    }

    task = wire.load(wire.TaskSchema(), body, Task)

    assert (task.name, task.message, task.priority) == ("old", "boom", 7)
    assert (task.description, task.error_code) == ("", "")
    assert task.status is TaskStatus.RETRYING


@pytest.mark.parametrize(
    "body",
    [{}, {"id": None}, [], "text", None, {"id": "t", "status": "DANCING"}, {"id": ["t"]}],
)
def test_task_without_sense_is_refused(body: object) -> None:
    with pytest.raises(ValidationError):
        wire.load(wire.TaskSchema(), body, Task)


def test_session_repository_is_found_at_the_top_before_the_template() -> None:
    both = {
        "id": "s",
        "repositoryUrl": "https://top",
        "templateConfig": {"repositoryUrl": "https://inner", "repositoryRef": "dev"},
    }

    session = wire.load(wire.SessionSchema(), both, Session)

    assert (session.repository_url, session.repository_ref) == ("https://top", "dev")


def test_session_status_is_upper_case_and_may_be_any_word() -> None:
    session = wire.load(wire.SessionSchema(), {"id": "s", "status": "paused"}, Session)

    assert session.status == "PAUSED"


def test_log_entry_reads_other_level_names() -> None:
    entry = wire.load(
        wire.LogEntrySchema(), {"level": "warning", "message": "日本語", "more": 1}, LogEntry
    )

    assert entry == LogEntry(level=LogLevel.WARN, message="日本語", source="task")


def test_script_reads_null_fields_as_missing() -> None:
    script = wire.load(
        wire.ScriptSchema(), {"content": "true", "language": None, "parameters": None}, Script
    )

    assert script == Script(content="true")


@given(
    st.builds(
        Task,
        id=st.text(min_size=1),
        session_id=st.text(),
        name=st.text(min_size=1),
        description=st.text(),
        script=st.text(),
        status=st.sampled_from(TaskStatus),
        message=st.text(min_size=1),
        progress=st.integers(0, 100),
        error_code=st.text(),
        priority=st.integers(-100, 100),
        parameters=st.dictionaries(st.text(), st.integers() | st.text(), max_size=3),
        parent_task_id=st.none() | st.text(min_size=1),
        created_at=st.none() | _MOMENTS,
        updated_at=st.none() | _MOMENTS,
    )
)
def test_task_survives_writing_and_reading(task: Task) -> None:
    written = json.loads(json.dumps(wire.TaskSchema().dump(task)))

    assert wire.load(wire.TaskSchema(), written, Task) == task
