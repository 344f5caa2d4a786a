"""What the double offers to tests beyond the port."""

from __future__ import annotations

import pytest

from keruta_agent.core import errors
from keruta_agent.core.model import LogEntry, LogLevel, StatusReport, TaskStatus
from keruta_agent.testing import InMemoryKerutaApi

RUNNING = StatusReport(status=TaskStatus.PROCESSING)


@pytest.fixture
def api() -> InMemoryKerutaApi:
    return InMemoryKerutaApi()


def _task_id(api: InMemoryKerutaApi) -> str:
    return api.add_task(api.add_session().id, "true").id


def test_failure_comes_once_and_stores_nothing(api: InMemoryKerutaApi) -> None:
    task_id = _task_id(api)
    api.fail_next("write_status", errors.ApiUnreachable("away"))

    with pytest.raises(errors.ApiUnreachable):
        api.write_status(task_id, RUNNING, key="k")

    assert api.statuses(task_id) == []
    api.write_status(task_id, RUNNING, key="k")
    assert api.statuses(task_id) == [TaskStatus.PROCESSING]


def test_failure_after_acting_stores_and_is_recognised_by_its_key(api: InMemoryKerutaApi) -> None:
    task_id = _task_id(api)
    entry = LogEntry(level=LogLevel.INFO, message="x", source="stdout")
    api.fail_next("send_logs", errors.ApiAmbiguous("lost"), after_acting=True)

    with pytest.raises(errors.ApiAmbiguous):
        api.send_logs(task_id, [entry], key="k")
    api.send_logs(task_id, [entry], key="k")

    assert api.logs(task_id) == [entry]
    assert api.log_text(task_id, "stdout") == "x\n"


def test_failures_come_as_often_as_asked(api: InMemoryKerutaApi) -> None:
    api.fail_next("health", errors.ApiOverloaded("busy"), times=2)

    for _ in range(2):
        with pytest.raises(errors.ApiOverloaded):
            api.health()
    assert api.health().healthy
    assert api.calls == ["health"] * 3


def test_failure_of_a_method_that_is_none_is_a_mistake_of_the_test(
    api: InMemoryKerutaApi,
) -> None:
    with pytest.raises(ValueError, match="wirte_status"):
        api.fail_next("wirte_status", errors.ApiFailed("x"))


def test_method_that_the_server_lacks_is_unsupported() -> None:
    api = InMemoryKerutaApi(without=["upload_artifact", "request_auto_fix"])

    with pytest.raises(errors.ApiUnsupported):
        api.request_auto_fix("t", error_message="", error_code="", key="k")


def test_progress_becomes_a_log_line_where_its_route_is_missing() -> None:
    api = InMemoryKerutaApi(without=["progress"])
    task_id = _task_id(api)

    for _ in range(2):
        api.send_progress(task_id, 50, "half", key="k")

    assert api.log_text(task_id, "agent") == "progress 50%: half\n"
    assert api.progress[task_id] == []


def test_state_set_by_another_person_asks_nobody(api: InMemoryKerutaApi) -> None:
    task_id = _task_id(api)
    api.set_status(task_id, TaskStatus.CANCELLED)

    with pytest.raises(errors.ApiConflict):
        api.write_status(task_id, RUNNING, key="k")
    assert api.statuses(task_id) == []
