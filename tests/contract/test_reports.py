"""Logs, progress, artifacts, measurements, input, health and events, on every server alike."""

from __future__ import annotations

import dataclasses
import hashlib
import threading
import uuid
from datetime import UTC, datetime
from pathlib import Path

import pytest

from keruta_agent.core import errors
from keruta_agent.core.model import ArtifactFile, LogEntry, LogLevel, StatusReport, TaskStatus
from tests.contract.worlds import World


def _key() -> str:
    return uuid.uuid4().hex


def _new_task(world: World) -> str:
    return world.add_task(world.add_session().id).id


def _finish(world: World, task_id: str) -> None:
    world.api.write_status(task_id, StatusReport(status=TaskStatus.COMPLETED), key=_key())


def _entries(*messages: str) -> list[LogEntry]:
    return [LogEntry(level=LogLevel.INFO, message=one, source="stdout") for one in messages]


def test_requests_are_counted_by_their_result(world: World) -> None:
    before = world.api.call_counts()
    task_id = _new_task(world)

    world.api.task(task_id)

    after = world.api.call_counts()
    assert after.results["2xx"] > before.results.get("2xx", 0)
    assert after.retries == before.retries


def test_logs_are_stored_in_order_with_all_their_fields(world: World) -> None:
    task_id = _new_task(world)
    moment = datetime(2026, 5, 4, 3, 2, 1, 123000, tzinfo=UTC)
    entries = [
        LogEntry(level=LogLevel.INFO, message="一", source="stdout", timestamp=moment),
        LogEntry(level=LogLevel.ERROR, message="two\n", source="stderr", timestamp=moment),
        LogEntry(
            level=LogLevel.WARN,
            message="",
            source="agent",
            timestamp=moment,
            metadata={"a": [1, "二"]},
        ),
    ]

    assert world.api.send_logs(task_id, entries, key=_key()) == 3
    assert world.api.send_logs(task_id, _entries("last"), key=_key()) == 1

    found = world.logs(task_id)
    assert found[:3] == entries
    assert found[3].message == "last"


def test_logs_sent_again_under_their_key_are_stored_once(world: World) -> None:
    task_id = _new_task(world)
    key = _key()

    counts = [world.api.send_logs(task_id, _entries("a", "b"), key=key) for _ in range(3)]

    assert counts == [2, 2, 2]
    assert [entry.message for entry in world.logs(task_id)] == ["a", "b"]


def test_logs_of_a_chatty_script_arrive_whole(world: World) -> None:
    task_id = _new_task(world)
    messages = [f"line {number}" for number in range(6000)]

    assert world.api.send_logs(task_id, _entries(*messages), key=_key()) == 6000

    assert [entry.message for entry in world.logs(task_id)] == messages


def test_logs_of_a_finished_task_are_still_taken(world: World) -> None:
    task_id = _new_task(world)
    _finish(world, task_id)

    assert world.api.send_logs(task_id, _entries("late"), key=_key()) == 1


def test_logs_of_an_unknown_task_are_not_found(world: World) -> None:
    with pytest.raises(errors.ApiNotFound):
        world.api.send_logs(_key(), _entries("x"), key=_key())


def test_progress_is_stored_and_keeps_the_message_when_it_has_none(world: World) -> None:
    task_id = _new_task(world)
    running = StatusReport(status=TaskStatus.PROCESSING)
    world.api.write_status(task_id, running, key=_key())

    world.api.send_progress(task_id, 40, "四割", key=_key())
    world.api.send_progress(task_id, 50, "", key=_key())

    task = world.api.task(task_id)
    assert (task.progress, task.message) == (50, "四割")
    assert task.status is TaskStatus.PROCESSING


def test_progress_of_a_finished_task_is_a_conflict(world: World) -> None:
    task_id = _new_task(world)
    _finish(world, task_id)

    with pytest.raises(errors.ApiConflict):
        world.api.send_progress(task_id, 50, "", key=_key())


def _artifact(tmp_path: Path, content: bytes, name: str = "結果/r.txt") -> ArtifactFile:
    file = tmp_path / "r.txt"
    file.write_bytes(content)
    return ArtifactFile(
        file=file,
        relative_path=name,
        size=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        content_type="text/plain",
        description="レポート",
    )


@pytest.mark.parametrize("content", [b"", b"text\n", b"\r\n--x\x00\xff" * 100_000])
def test_artifact_arrives_unchanged(world: World, tmp_path: Path, content: bytes) -> None:
    task_id = _new_task(world)
    artifact = _artifact(tmp_path, content)

    world.api.upload_artifact(task_id, artifact, key=_key())

    (stored,) = world.artifacts(task_id)
    assert stored.content == content
    assert (stored.path, stored.description) == ("結果/r.txt", "レポート")
    assert stored.sha256 == artifact.sha256


def test_artifact_sent_again_under_its_key_is_stored_once(world: World, tmp_path: Path) -> None:
    task_id = _new_task(world)
    artifact = _artifact(tmp_path, b"data")
    key = _key()

    for _ in range(2):
        world.api.upload_artifact(task_id, artifact, key=key)

    assert len(world.artifacts(task_id)) == 1


def test_artifact_that_is_not_what_was_recorded_is_not_stored(world: World, tmp_path: Path) -> None:
    task_id = _new_task(world)
    artifact = dataclasses.replace(_artifact(tmp_path, b"data"), sha256="0" * 64)

    with pytest.raises(errors.AgentStateError, match="was changed since it was recorded"):
        world.api.upload_artifact(task_id, artifact, key=_key())

    assert world.artifacts(task_id) == []


def test_artifact_of_an_unknown_task_is_not_found_every_time(world: World, tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(errors.ApiNotFound) as caught:
            world.api.upload_artifact(_key(), _artifact(tmp_path, b"data"), key=_key())
        assert not isinstance(caught.value, errors.ApiUnsupported)


def test_artifact_whose_file_is_gone_is_not_found(world: World, tmp_path: Path) -> None:
    artifact = _artifact(tmp_path, b"data")
    artifact.file.unlink()

    with pytest.raises(errors.NotFound):
        world.api.upload_artifact(_new_task(world), artifact, key=_key())


def test_metrics_are_stored(world: World) -> None:
    task_id = _new_task(world)

    world.api.send_metrics(task_id, {"durationMs": 12, "exitCode": 0}, key=_key())
    world.api.send_metrics(task_id, {"durationMs": 13}, key=_key())

    assert world.metrics(task_id) == [{"durationMs": 13}, {"durationMs": 12, "exitCode": 0}]


def test_input_is_handed_out_once_with_a_line_end(world: World) -> None:
    task_id = _new_task(world)

    world.api.request_input(task_id, "名前?", key=_key())
    assert world.api.poll_input(task_id) is None
    world.answer_input(task_id, "アリス")

    assert world.api.poll_input(task_id) == "アリス\n"
    assert world.api.poll_input(task_id) is None


@pytest.mark.parametrize("secret", [False, True])
def test_input_is_handed_out_by_the_question_until_the_task_goes_on(
    world: World, secret: bool
) -> None:
    task_id = _new_task(world)
    world.api.write_status(task_id, StatusReport(status=TaskStatus.WAITING_FOR_INPUT), key=_key())
    question = world.api.request_input(task_id, "名前?", secret=secret, key=_key())
    assert question is not None
    assert world.api.poll_input(task_id, question) is None
    world.answer_input(task_id, "アリス")

    assert [world.api.poll_input(task_id, question) for _ in range(2)] == ["アリス\n"] * 2
    assert world.api.poll_input(task_id, "another") is None
    world.api.write_status(task_id, StatusReport(status=TaskStatus.PROCESSING), key=_key())
    assert world.api.poll_input(task_id, question) is None


def test_input_of_an_earlier_question_is_not_handed_out_for_the_next_one(world: World) -> None:
    task_id = _new_task(world)
    first = world.api.request_input(task_id, "again?", key=_key())
    world.answer_input(task_id, "one")
    second = world.api.request_input(task_id, "again?", key=_key())

    assert [world.api.poll_input(task_id, question) for question in (first, second)] == [None] * 2
    world.answer_input(task_id, "two")
    assert world.api.poll_input(task_id, first) is None
    assert world.api.poll_input(task_id, second) == "two\n"


def test_input_request_that_is_repeated_under_its_key_is_one_question(world: World) -> None:
    task_id, key = _new_task(world), _key()
    first = world.api.request_input(task_id, "name?", key=key)
    world.answer_input(task_id, "one")

    assert world.api.request_input(task_id, "name?", key=key) == first
    assert world.api.poll_input(task_id, first) == "one\n"


def test_input_of_a_task_that_asks_for_nothing_is_none(world: World) -> None:
    assert world.api.poll_input(_new_task(world)) is None


def test_input_of_an_older_prompt_is_forgotten_with_the_next_one(world: World) -> None:
    task_id = _new_task(world)
    world.api.request_input(task_id, "first?", key=_key())
    world.answer_input(task_id, "one\n")

    world.api.request_input(task_id, "second?", key=_key())

    assert world.api.poll_input(task_id) is None


def test_input_request_of_a_finished_task_is_a_conflict(world: World) -> None:
    task_id = _new_task(world)
    _finish(world, task_id)

    with pytest.raises(errors.ApiConflict):
        world.api.request_input(task_id, "still there?", key=_key())


def test_health_is_good(world: World) -> None:
    assert world.api.health().healthy


def test_events_announce_new_tasks(world: World) -> None:
    session = world.add_session()
    events = world.api.events(session.id, threading.Event())
    connected = next(events)
    filed = world.add_task(session.id)

    seen = next(events)
    events.close()  # type: ignore[attr-defined]

    assert connected.name == "connected"
    assert seen.name == "task_created"
    assert seen.data["sessionId"] == session.id
    assert seen.data["data"]["taskId"] == filed.id


def test_events_of_other_sessions_are_not_heard(world: World) -> None:
    session, other = world.add_session(), world.add_session()
    events = world.api.events(session.id, threading.Event())
    next(events)

    world.add_task(other.id)
    mine = world.add_task(session.id)

    assert next(events).data["data"]["taskId"] == mine.id
    events.close()  # type: ignore[attr-defined]


def test_events_end_on_request_while_nothing_happens(world: World) -> None:
    session = world.add_session()
    stop = threading.Event()
    connected = threading.Event()

    def listen() -> None:
        for _ in world.api.events(session.id, stop):
            connected.set()

    listener = threading.Thread(target=listen)
    listener.start()
    assert connected.wait(30)
    stop.set()
    # Well before the silence limit or the next heartbeat would end it.
    listener.join(10)

    assert not listener.is_alive()
