"""The states, their legal moves, and the order in which tasks run."""

from __future__ import annotations

import itertools
import random
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keruta_agent.core import model
from keruta_agent.core.model import LogLevel, Script, Session, Task, TaskStatus

_DATES = st.none() | st.datetimes(
    min_value=datetime(2020, 1, 1), max_value=datetime(2030, 1, 1), timezones=st.just(UTC)
)


@st.composite
def _tasks(draw: st.DrawFn) -> list[Task]:
    fields = draw(st.lists(st.tuples(st.integers(-3, 3), _DATES), max_size=12))
    return [
        Task(id=str(number), priority=priority, created_at=date)
        for number, (priority, date) in enumerate(fields)
    ]


@given(_tasks())
def test_execution_order_is_a_permutation_by_priority_then_age(tasks: list[Task]) -> None:
    ordered = model.in_execution_order(tasks)

    assert sorted(task.id for task in ordered) == sorted(task.id for task in tasks)
    for earlier, later in itertools.pairwise(ordered):
        assert earlier.priority >= later.priority
        if earlier.priority == later.priority and later.created_at is not None:
            assert earlier.created_at is not None
            assert earlier.created_at <= later.created_at


@given(_tasks())
def test_execution_order_puts_the_last_received_first_among_equals(tasks: list[Task]) -> None:
    ordered = model.in_execution_order(tasks)

    for earlier, later in itertools.pairwise(ordered):
        same = (earlier.priority, earlier.created_at) == (later.priority, later.created_at)
        assert not same or int(earlier.id) > int(later.id)


@given(st.integers(0, 2**32), st.integers(1, 10))
def test_execution_order_of_dated_tasks_does_not_depend_on_how_they_are_listed(
    seed: int, count: int
) -> None:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    tasks = [
        Task(id=str(n), priority=n % 3, created_at=start + timedelta(seconds=n))
        for n in range(count)
    ]
    shuffled = random.Random(seed).sample(tasks, count)

    assert model.in_execution_order(shuffled) == model.in_execution_order(tasks)


def test_execution_order_runs_a_newest_first_list_oldest_first() -> None:
    newest_first = [Task(id="3"), Task(id="2"), Task(id="1")]

    assert [task.id for task in model.in_execution_order(newest_first)] == ["1", "2", "3"]


@pytest.mark.parametrize("status", TaskStatus)
def test_task_moves_cover_every_state_and_never_lead_back_to_pending(status: TaskStatus) -> None:
    assert status in model.TASK_MOVES
    assert TaskStatus.PENDING not in model.TASK_MOVES[status]
    assert status not in model.TASK_MOVES[status]


def test_task_status_terminal_states_are_the_three_endings() -> None:
    terminal = {status for status in TaskStatus if status.is_terminal}

    assert terminal == {TaskStatus.COMPLETED, TaskStatus.FAILED, TaskStatus.CANCELLED}


@pytest.mark.parametrize("status", [s for s in TaskStatus if not s.is_terminal])
def test_task_moves_let_every_open_state_fail_and_be_cancelled(status: TaskStatus) -> None:
    assert {TaskStatus.FAILED, TaskStatus.CANCELLED} <= model.TASK_MOVES[status]


@pytest.mark.parametrize(
    ("text", "status"),
    [
        ("IN_PROGRESS", TaskStatus.PROCESSING),
        ("in_progress", TaskStatus.PROCESSING),
        (" processing ", TaskStatus.PROCESSING),
        ("running", TaskStatus.PROCESSING),
        ("CANCELED", TaskStatus.CANCELLED),
        ("Completed", TaskStatus.COMPLETED),
    ],
)
def test_parse_task_status_knows_all_names(text: str, status: TaskStatus) -> None:
    assert model.parse_task_status(text) is status


@given(st.text())
def test_parse_task_status_accepts_or_raises_value_error(text: str) -> None:
    try:
        status = model.parse_task_status(text)
    except ValueError:
        return
    assert isinstance(status, TaskStatus)


@pytest.mark.parametrize(
    ("text", "level"),
    [
        ("WARNING", LogLevel.WARN),
        ("warn", LogLevel.WARN),
        ("critical", LogLevel.FATAL),
        ("PANIC", LogLevel.FATAL),
        ("trace", LogLevel.DEBUG),
        ("Info", LogLevel.INFO),
    ],
)
def test_parse_log_level_maps_other_names(text: str, level: LogLevel) -> None:
    assert model.parse_log_level(text) is level


def test_parse_log_level_refuses_an_unknown_name() -> None:
    with pytest.raises(ValueError, match="LOUD"):
        model.parse_log_level("loud")


@pytest.mark.parametrize("status", sorted(model.ENDED_SESSION_STATES))
def test_session_has_ended_in_every_final_state(status: str) -> None:
    assert Session(id="s", status=status).has_ended


@pytest.mark.parametrize(
    "status", ["ACTIVE", "INACTIVE", "PAUSED", "RUNNING", "PENDING", "SOMETHING_NEW"]
)
def test_session_goes_on_in_any_other_state(status: str) -> None:
    assert not Session(id="s", status=status).has_ended


def test_script_environment_makes_text_of_the_values() -> None:
    script = Script(content="true", parameters={"env": {"N": 1, "T": "x", "B": True}})

    assert script.environment == {"N": "1", "T": "x", "B": "True"}


@pytest.mark.parametrize("env", [None, [], "A=1", 3])
def test_script_environment_is_empty_when_it_is_no_object(env: object) -> None:
    assert Script(content="true", parameters={"env": env}).environment == {}


def test_same_failure_anywhere_in_a_chain_is_found_again() -> None:
    task = Task(id="t")
    for count, message in enumerate(("no file /tmp/a1 in line 7", "something else"), 1):
        assert not model.has_failed_so_before(task.parameters, "EXIT_1", message)
        parameters = model.auto_fix_parameters(
            task, root="t", fix_count=count, error_code="EXIT_1", error_message=message
        )
        task = Task(id="t", parameters=parameters)
    assert model.has_failed_so_before(task.parameters, "EXIT_1", "no file /tmp/b2 in line 9")
    assert model.has_failed_so_before(task.parameters, "EXIT_1", "something else")
    assert not model.has_failed_so_before(task.parameters, "EXIT_2", "something else")
