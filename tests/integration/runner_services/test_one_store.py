"""The services keep what they know in the server's store, beside its tasks and other pools."""

from __future__ import annotations

import contextlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from keruta_agent.git import url as urls
from keruta_agent.git.access.credentials import GitAccess
from keruta_agent.http.problems import Problem
from keruta_agent.server.application import create_application
from keruta_agent.server.runner_services import lending, serve
from keruta_agent.server.runner_services.lending import AllocationRequest
from keruta_agent.server.runner_services.serve import POOL, REGISTRY, Options
from keruta_agent.server.runner_services.slots import Slots
from keruta_agent.server.store.data_directory import DataDirectory
from keruta_agent.server.store.store import Store
from tests.helpers.asgi_client import Client
from tests.helpers.databases import url_of
from tests.helpers.repositories import Repository
from tests.helpers.runner_services import Around, runner_services
from tests.helpers.waiting import wait_until


def test_tasks_of_the_api_and_of_the_registry_are_apart_in_one_database(tmp_path: Path) -> None:
    options = Options(database_url=url_of(tmp_path))
    with serve.open_services(tmp_path, options) as services, contextlib.ExitStack() as opened:
        api, registry = (
            create_application(services.store),
            serve.application_of(REGISTRY, services, options),
        )
        for app in (api, registry):
            opened.callback(app.close)
        session = Client(api).post("/api/v1/sessions", json={"name": "s"}).json()
        draft = {"sessionId": session["id"], "name": "of the API", "script": "true"}
        task_id = Client(api).post("/api/v1/tasks", json=draft).json()["id"]
        Client(registry).request("PUT", f"/tasks/{task_id}/status", json={"status": "running"})

        assert Client(api).get(f"/api/v1/tasks/{task_id}").json()["status"] == "PENDING"
        assert [task["id"] for task in Client(api).get("/api/v1/tasks").json()] == [task_id]
        assert Client(registry).get(f"/tasks/{task_id}").json()["status"] == "running"


def test_pools_of_two_directories_lend_no_slot_of_each_other(
    tmp_path: Path, repository: Repository
) -> None:
    wanted = AllocationRequest(
        url=urls.parse(str(repository.path)), holder="a", wait_s=0, lease_s=600, key="k"
    )
    with contextlib.ExitStack() as opened:
        first = Store.open(tmp_path / "first", url_of(tmp_path))
        opened.callback(first.close)
        directory = DataDirectory(tmp_path / "second")
        opened.callback(directory.close)
        pools = [
            Slots(store, size=1, access=GitAccess())
            for store in (first, Store(directory, first.database))
        ]
        for pool in pools:
            opened.callback(pool.close)
            pool.start()
        rows = [pool.allocate(wanted) for pool in pools]
        paths = {pool.describe(row)["slot_path"] for pool, row in zip(pools, rows, strict=True)}
        assert len(paths) == 2
        with pytest.raises(Problem, match="under this lease"):
            pools[1].heartbeat(rows[1]["id"], rows[0]["lease_token"])
        pools[0].release(rows[0]["id"], "")
        assert pools[1].heartbeat(rows[1]["id"], rows[1]["lease_token"])["holder"] == "a"


def test_first_reports_of_a_task_at_the_same_moment_are_all_kept(around: Around) -> None:
    def report(number: int) -> None:
        metadata = {"spec_name": "rush", f"runner-{number}": number}
        around.registry.update_task_status("r.1", "running", metadata)
        around.registry.add_event("r.1", "begun", {"number": number}, spec_name="rush")

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(report, range(24)))

    task = around.registry.get_task("r.1", spec_name="rush")
    assert len(task["history"]) == len(task["events"]) == 24
    assert {f"runner-{number}" for number in range(24)} <= set(task["metadata"])


def test_time_of_a_report_is_kept_to_the_microsecond(around: Around) -> None:
    body = {"status": "done", "updated_at": 1764356400.123457}
    requests.put(f"{around.registry.base_url}/tasks/t.1/status", json=body, timeout=10)

    assert around.registry.get_task("t.1")["history"][0]["said_at"] == 1764356400.123457


def test_nul_in_what_is_looked_for_finds_nothing(around: Around) -> None:
    metadata = {"task_id": "a\0b", "spec_name": "c\0d"}
    assert around.store.upload("diff", b"x", metadata)

    for service, path in ((REGISTRY, "tasks?status=a%00b"), (REGISTRY, "tasks?spec_name=a%00b")):
        answer = requests.get(f"{around.urls[service]}/{path}", timeout=10)
        assert answer.json()["tasks"] == []
    answer = requests.get(f"{around.store.base_url}/artifacts?type=a%00b", timeout=10)
    assert answer.json()["artifacts"] == []


def test_request_that_would_take_the_last_threads_is_refused(
    tmp_path: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lending, "MOST_WAITING", 1)
    with (
        runner_services(tmp_path / "services", pool_size=1) as around,
        ThreadPoolExecutor(1) as threads,
    ):
        around.pool.allocate_slot(str(repository.path), required_by="a")
        allocate = f"{around.urls[POOL]}/slots/allocate"
        body = {"repo_url": str(repository.path), "required_by": "b", "timeout_seconds": 60}
        waits = threads.submit(requests.post, allocate, json=body, timeout=90)
        status = f"{around.urls[POOL]}/pools/status"
        wait_until(
            lambda: requests.get(status, timeout=10).json()["pools"][0]["waiting"] == 1, "it waits"
        )

        refused = requests.post(allocate, json=body, timeout=10)

        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "TOO_MANY_WAITING"
        assert refused.headers["Retry-After"] == "5"
        around.pool.release_slot(
            requests.get(status, timeout=10).json()["pools"][0]["slots"][0]["slot_id"]
        )
        assert waits.result(timeout=90).status_code == 200
