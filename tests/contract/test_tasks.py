"""Sessions, tasks, their states and what grows out of them, on every server alike."""

from __future__ import annotations

import uuid

import pytest

from keruta_agent.core import errors
from keruta_agent.core.model import StatusReport, Task, TaskStatus
from keruta_agent.server import paging
from tests.contract.worlds import World


def _key() -> str:
    return uuid.uuid4().hex


def _write(world: World, task_id: str, status: TaskStatus) -> Task:
    return world.api.write_status(task_id, StatusReport(status=status), key=_key())


def _fail(world: World, task_id: str) -> None:
    _write(world, task_id, TaskStatus.FAILED)


def test_session_is_read_by_its_id(world: World) -> None:
    filed = world.add_session(name="デモ", repository_url="https://k.example/r.git")

    session = world.api.session(filed.id)

    assert (session.id, session.name) == (filed.id, "デモ")
    assert session.repository_url == "https://k.example/r.git"
    assert not session.has_ended


def test_session_that_has_ended_says_so(world: World) -> None:
    filed = world.add_session()
    world.end_session(filed.id)

    assert world.api.session(filed.id).has_ended


@pytest.mark.parametrize("session_id", ["missing", "a/b?c#d", "%2F", "日本", ".."])
def test_session_that_is_unknown_is_not_found(world: World, session_id: str) -> None:
    with pytest.raises(errors.ApiNotFound):
        world.api.session(session_id)


def test_sessions_are_found_by_exact_name(world: World) -> None:
    name = f"name-{_key()}"
    filed = world.add_session(name=name)
    world.add_session(name=f"{name}-longer")
    world.add_session(name=name.upper())

    assert [session.id for session in world.api.sessions_by_name(name)] == [filed.id]
    assert world.api.sessions_by_name(f"{name}-nobody") == []


def test_sessions_are_found_by_the_beginning_of_the_id_in_any_case(world: World) -> None:
    start = _key()
    filed = {world.add_session(id=f"{start}-{number}").id for number in range(2)}

    found = world.api.sessions_by_partial_id(start[:12].upper())

    assert {session.id for session in found} == filed
    assert world.api.sessions_by_partial_id(_key()) == []


def test_session_is_found_by_its_workspace(world: World) -> None:
    workspace = f"w {_key()}"
    ended = world.add_session(workspace_id=workspace)
    world.end_session(ended.id)
    active = world.add_session(workspace_id=workspace)

    assert world.api.session_by_workspace(workspace).id == active.id
    with pytest.raises(errors.ApiNotFound):
        world.api.session_by_workspace(_key())


def test_pending_tasks_come_by_priority_then_age(world: World) -> None:
    session = world.add_session()
    filed = [world.add_task(session.id, priority=priority).id for priority in (0, 5, 0, 5, 9)]
    _write(world, filed[4], TaskStatus.PROCESSING)
    world.add_task(world.add_session().id, priority=99)

    pending = list(world.api.pending_tasks(session.id))

    assert [task.id for task in pending] == [filed[1], filed[3], filed[0], filed[2]]


@pytest.mark.parametrize("rows", [1, 3, 7])
def test_pending_tasks_are_all_seen_though_an_answer_holds_fewer(
    world: World, rows: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "MOST_ROWS", rows)
    workspace = _key()
    session = world.add_session(workspace_id=workspace)
    filed = [world.add_task(session.id, priority=number % 3).id for number in range(7)]

    for pending in (
        world.api.pending_tasks(session.id),
        world.api.workspace_pending_tasks(workspace),
    ):
        assert [task.id for task in pending] == [filed[n] for n in (2, 5, 1, 4, 0, 3, 6)]


def test_sessions_are_all_found_though_an_answer_holds_fewer(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(paging, "MOST_ROWS", 2)
    name = _key()
    filed = [world.add_session(name=name + "x" * (n % 2)).id for n in range(6)]

    assert {session.id for session in world.api.sessions_by_name(name)} == set(filed[::2])
    assert {session.id for session in world.api.all_sessions()} >= set(filed)


def test_pending_tasks_of_an_unknown_session_are_not_found_every_time(world: World) -> None:
    session = world.add_session()

    for _ in range(2):
        with pytest.raises(errors.ApiNotFound):
            world.api.pending_tasks(_key())
    assert list(world.api.pending_tasks(session.id)) == []


def test_workspace_pending_tasks_come_from_its_open_sessions(world: World) -> None:
    workspace = _key()
    ended = world.add_session(workspace_id=workspace)
    world.add_task(ended.id)
    world.end_session(ended.id)
    active = world.add_session(workspace_id=workspace)
    filed = [world.add_task(active.id, priority=priority).id for priority in (1, 2)]

    tasks = world.api.workspace_pending_tasks(workspace)

    assert [task.id for task in tasks] == [filed[1], filed[0]]


def test_task_is_read_as_it_was_filed(world: World) -> None:
    session = world.add_session()
    filed = world.add_task(
        session.id, "echo やあ\n", name="名前", priority=4, parameters={"env": {"A": "1"}, "n": [1]}
    )

    task = world.api.task(filed.id)

    assert (task.name, task.script, task.priority) == ("名前", "echo やあ\n", 4)
    assert task.session_id == session.id
    assert task.status is TaskStatus.PENDING
    assert task.parameters == {"env": {"A": "1"}, "n": [1]}
    assert task.created_at is not None


def test_script_comes_with_the_environment_of_the_task(world: World) -> None:
    task = world.add_task(world.add_session().id, "echo hi\n", parameters={"env": {"A": "1"}})

    script = world.api.script(task.id)

    assert (script.content, script.language, script.filename) == ("echo hi\n", "bash", "task.sh")
    assert script.environment == {"A": "1"}


def test_script_that_is_blank_stays_blank(world: World) -> None:
    task = world.add_task(world.add_session().id, "")

    assert world.api.script(task.id).content.strip() == ""


@pytest.mark.parametrize("method", ["task", "script", "subtasks", "poll_input"])
def test_reading_of_an_unknown_task_is_not_found_every_time(world: World, method: str) -> None:
    for _ in range(2):
        with pytest.raises(errors.ApiNotFound) as caught:
            getattr(world.api, method)(_key())
        assert not isinstance(caught.value, errors.ApiUnsupported)


def test_status_is_stored_with_all_its_fields(world: World) -> None:
    task = world.add_task(world.add_session().id)
    report = StatusReport(
        status=TaskStatus.FAILED, message="だめ", progress=30, error_code="SCRIPT_EXECUTION_ERROR"
    )

    answered = world.api.write_status(task.id, report, key=_key())

    held = world.api.task(task.id)
    for found in (answered, held):
        assert found.status is TaskStatus.FAILED
        assert (found.message, found.progress) == ("だめ", 30)
        assert found.error_code == "SCRIPT_EXECUTION_ERROR"


def test_status_goes_through_a_whole_life(world: World) -> None:
    task = world.add_task(world.add_session().id)
    life = [
        TaskStatus.PROCESSING,
        TaskStatus.WAITING_FOR_INPUT,
        TaskStatus.PROCESSING,
        TaskStatus.COMPLETED,
    ]

    assert [_write(world, task.id, status).status for status in life] == life


@pytest.mark.parametrize("ended", [TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED])
def test_status_of_a_finished_task_cannot_be_set_back(world: World, ended: TaskStatus) -> None:
    task = world.add_task(world.add_session().id)
    _write(world, task.id, ended)

    with pytest.raises(errors.ApiConflict):
        _write(world, task.id, TaskStatus.PROCESSING)

    assert world.api.task(task.id).status is ended


def test_status_written_again_when_finished_keeps_the_first_words(world: World) -> None:
    task = world.add_task(world.add_session().id)
    first = StatusReport(status=TaskStatus.FAILED, message="first", error_code="A")
    world.api.write_status(task.id, first, key=_key())

    second = StatusReport(status=TaskStatus.FAILED, message="second", error_code="B")
    answered = world.api.write_status(task.id, second, key=_key())

    assert (answered.message, answered.error_code) == ("first", "A")


def test_status_write_repeated_under_its_key_acts_once(world: World) -> None:
    task = world.add_task(world.add_session().id)
    key = _key()
    world.api.write_status(task.id, StatusReport(status=TaskStatus.PROCESSING), key=key)
    _write(world, task.id, TaskStatus.COMPLETED)

    # Without the key this would be an illegal move.
    world.api.write_status(task.id, StatusReport(status=TaskStatus.PROCESSING), key=key)

    assert world.api.task(task.id).status is TaskStatus.COMPLETED


def test_status_of_an_unknown_task_is_not_found(world: World) -> None:
    with pytest.raises(errors.ApiNotFound):
        _write(world, _key(), TaskStatus.PROCESSING)


def test_subtask_is_created_under_its_parent(world: World) -> None:
    parent = world.add_task(world.add_session().id)
    wanted = Task(id="", name="child", description="d", script="s", priority=2, parameters={"a": 1})

    child = world.api.create_subtask(parent.id, wanted, key=_key())

    assert (child.parent_task_id, child.session_id) == (parent.id, parent.session_id)
    assert child.status is TaskStatus.PENDING
    assert (child.name, child.priority, child.parameters) == ("child", 2, {"a": 1})
    assert [task.id for task in world.api.subtasks(parent.id)] == [child.id]


def test_subtask_created_twice_under_one_key_is_one(world: World) -> None:
    parent = world.add_task(world.add_session().id)
    key = _key()

    first = world.api.create_subtask(parent.id, Task(id="", name="n"), key=key)
    second = world.api.create_subtask(parent.id, Task(id="", name="n"), key=key)

    assert first.id == second.id
    assert len(world.api.subtasks(parent.id)) == 1


def test_subtask_of_an_unknown_parent_is_not_found(world: World) -> None:
    with pytest.raises(errors.ApiNotFound):
        world.api.create_subtask(_key(), Task(id="", name="n"), key=_key())


def test_task_is_created_in_its_session(world: World) -> None:
    session = world.add_session()
    key = _key()
    wanted = Task(id="", session_id=session.id, name="new", script="true", priority=-1)

    created = world.api.create_task(wanted, key=key)
    again = world.api.create_task(wanted, key=key)

    assert created.id == again.id
    assert [task.id for task in world.api.pending_tasks(session.id)] == [created.id]


@pytest.mark.parametrize("name", ["", "  "])
def test_task_without_a_name_is_refused(world: World, name: str) -> None:
    session = world.add_session()

    with pytest.raises(errors.ApiRefused):
        world.api.create_task(Task(id="", session_id=session.id, name=name), key=_key())


def test_task_in_an_unknown_or_ended_session_is_refused(world: World) -> None:
    ended = world.add_session()
    world.end_session(ended.id)

    with pytest.raises(errors.ApiRefused):
        world.api.create_task(Task(id="", session_id=_key(), name="n"), key=_key())
    with pytest.raises(errors.ApiConflict):
        world.api.create_task(Task(id="", session_id=ended.id, name="n"), key=_key())


def _auto_fix(world: World, task_id: str, error_message: str = "boom") -> None:
    world.api.request_auto_fix(task_id, error_message=error_message, error_code="E1", key=_key())


def test_auto_fix_creates_a_child_with_the_failure(world: World) -> None:
    task = world.add_task(
        world.add_session().id, "exit 1", name="build", description="desc", priority=3
    )
    _fail(world, task.id)

    _auto_fix(world, task.id)

    (fix,) = world.api.subtasks(task.id)
    assert fix.name.endswith("build")
    assert fix.name != "build"
    assert "desc" in fix.description
    assert "boom" in fix.description
    assert (fix.script, fix.priority, fix.status) == ("exit 1", 3, TaskStatus.PENDING)
    assert fix.parameters["autoFix"] is True
    assert fix.parameters["fixCount"] == 1
    assert fix.parameters["originalTaskId"] == task.id
    assert fix.parameters["errorCode"] == "E1"


def test_auto_fix_asked_for_twice_under_one_key_is_one(world: World) -> None:
    task = world.add_task(world.add_session().id)
    _fail(world, task.id)
    key = _key()

    for _ in range(2):
        world.api.request_auto_fix(task.id, error_message="", error_code="", key=key)

    assert len(world.api.subtasks(task.id)) == 1


def test_auto_fix_of_a_task_that_has_not_failed_is_a_conflict(world: World) -> None:
    task = world.add_task(world.add_session().id)

    with pytest.raises(errors.ApiConflict):
        _auto_fix(world, task.id)


@pytest.mark.parametrize(
    ("end", "fixes"), [(TaskStatus.FAILED, 1), (TaskStatus.COMPLETED, 0), (TaskStatus.CANCELLED, 0)]
)
def test_auto_fix_of_a_task_that_runs_is_made_when_it_fails(
    world: World, end: TaskStatus, fixes: int
) -> None:
    session = world.add_session()
    task = world.add_task(session.id)
    for status in (TaskStatus.PROCESSING, end):
        world.api.write_status(task.id, StatusReport(status=status), key=_key())
        if status is TaskStatus.PROCESSING:
            _auto_fix(world, task.id)
            assert world.api.subtasks(task.id) == []

    assert len(world.api.subtasks(task.id)) == fixes


def test_auto_fix_ends_after_three_in_a_chain(world: World) -> None:
    task = world.add_task(world.add_session().id)
    for number in range(3):
        _fail(world, task.id)
        _auto_fix(world, task.id, "failure " + "x" * number)
        (task,) = world.api.subtasks(task.id)
    _fail(world, task.id)

    _auto_fix(world, task.id, "another failure")

    assert world.api.subtasks(task.id) == []


def test_auto_fix_that_failed_just_as_the_task_before_is_the_last(world: World) -> None:
    task = world.add_task(world.add_session().id)
    _fail(world, task.id)
    _auto_fix(world, task.id, "no file /tmp/a at line 12")
    (fix,) = world.api.subtasks(task.id)
    _fail(world, fix.id)

    _auto_fix(world, fix.id, "no file /var/b at line 7")

    assert world.api.subtasks(fix.id) == []


def test_auto_fix_believes_the_count_in_the_parameters(world: World) -> None:
    task = world.add_task(world.add_session().id, parameters={"fixCount": 3})
    _fail(world, task.id)

    _auto_fix(world, task.id)

    assert world.api.subtasks(task.id) == []


def test_auto_fix_ends_after_three_of_one_task(world: World) -> None:
    task = world.add_task(world.add_session().id)
    _fail(world, task.id)

    for _ in range(5):
        _auto_fix(world, task.id)

    assert len(world.api.subtasks(task.id)) == 3


def test_auto_fix_of_a_task_without_a_script_creates_nothing(world: World) -> None:
    task = world.add_task(world.add_session().id, "")
    _fail(world, task.id)

    _auto_fix(world, task.id)

    assert world.api.subtasks(task.id) == []
