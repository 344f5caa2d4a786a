"""``keruta server --runner-services`` as a process, which may be killed at any moment."""

from __future__ import annotations

import re
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import requests

from keruta_agent.runner import RepoPoolClient, RetryConfig, TaskRegistryClient
from tests.helpers.processes import Process, Workplace, free_port
from tests.helpers.repositories import Repository, git
from tests.helpers.waiting import wait_until

PATIENT = RetryConfig(max_retries=100, initial_delay_seconds=0.1, max_delay_seconds=0.3)


def _urls(process: Process) -> dict[str, str]:
    process.wait_for("Artifact Store on")
    return dict(re.findall(r"^(.*) on (http://\S+)$", process.out, re.MULTILINE))


def test_server_serves_all_services_and_says_where(workplace: Workplace) -> None:
    process = workplace.start(
        *("server", "--runner-services", "--port", "0", "--registry-port", "0"),
        *("--pool-port", "0", "--store-port", "0", "--pool-size", "10"),
    )
    urls = _urls(process)

    assert set(urls) == {"listening", "Task Registry", "Repo Pool Manager", "Artifact Store"}
    for url in urls.values():
        assert requests.get(f"{url}/health", timeout=10).json()["status"] == "UP"
    status = requests.get(f"{urls['Repo Pool Manager']}/pools/status", timeout=10).json()
    assert status == {"pool_size": 10, "pools": []}
    assert process.stop() == 0


def test_pool_size_of_the_guides_config_file_holds(workplace: Workplace) -> None:
    config = workplace.path / "pool.yaml"
    config.write_text("pool_size: 10  # デフォルト: 5\n", encoding="utf-8")
    free = ("--registry-port", "0", "--pool-port", "0", "--store-port", "0")
    process = workplace.start("--config", str(config), "server", "--runner-services-only", *free)

    url = _urls(process)["Repo Pool Manager"]

    assert requests.get(f"{url}/pools/status", timeout=10).json()["pool_size"] == 10
    assert process.stop() == 0


def test_second_server_on_the_same_data_is_refused(workplace: Workplace) -> None:
    free = ("--registry-port", "0", "--pool-port", "0", "--store-port", "0")
    data = ("--data", str(workplace.path / "data"))
    process = workplace.start("server", "--runner-services-only", *free, *data)
    _urls(process)

    second = workplace.run("server", "--runner-services-only", *free, *data)

    assert second.returncode == 1
    assert "another keruta server uses the data directory" in second.stderr
    assert process.stop() == 0


def test_retention_that_makes_no_sense_is_refused(workplace: Workplace) -> None:
    done = workplace.run("server", "--runner-services-only", "--keep-artifacts", "diff=often")

    assert done.returncode == 2
    assert "diff=30" in done.stderr


def test_database_that_the_services_cannot_use_is_refused(workplace: Workplace) -> None:
    done = workplace.run("server", "--runner-services-only", "--database-url", "mysql://u:pw@h/d")

    assert done.returncode == 2
    assert "Use postgresql://" in done.stderr
    assert "pw" not in done.stderr


def test_killed_server_lends_no_slot_twice_and_loses_none(
    workplace: Workplace, tmp_path: Path
) -> None:
    origin = tmp_path / "origin.git"
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", str(origin))
    Repository(origin).commit("main", {"a.txt": "a\n"})
    ports = [str(free_port()) for _ in range(3)]
    command = (
        *("server", "--runner-services-only", "--data", str(tmp_path / "data")),
        *("--registry-port", ports[0], "--pool-port", ports[1], "--store-port", ports[2]),
        *("--pool-size", "2"),
    )
    process = workplace.start(*command)
    urls = _urls(process)
    guard = threading.Lock()
    held: set[Path] = set()
    ended: list[int] = []

    def run(number: int) -> None:
        with (
            RepoPoolClient(urls["Repo Pool Manager"], retry_config=PATIENT) as pool,
            TaskRegistryClient(urls["Task Registry"], retry_config=PATIENT) as registry,
        ):
            slot = pool.allocate_slot(str(origin), f"runner-{number}", timeout_seconds=60)
            with guard:
                assert slot.slot_path not in held
                held.add(slot.slot_path)
            assert {path.name for path in slot.slot_path.iterdir()} == {".git", "a.txt"}
            (slot.slot_path / "left").touch()
            registry.add_event("1.1", "held", {"number": number})
            with guard:
                held.remove(slot.slot_path)
                ended.append(number)
            pool.release_slot(slot.slot_id)

    with ThreadPoolExecutor(4) as threads:
        runs = [threads.submit(run, number) for number in range(12)]
        for mark in (2, 6):
            wait_until(lambda mark=mark: len(ended) >= mark, f"{mark} runs ended")
            process.kill()
            process = workplace.start(*command)
            _urls(process)
        for done in runs:
            done.result(timeout=60)

    with RepoPoolClient(urls["Repo Pool Manager"]) as pool:
        slots = [pool.allocate_slot(str(origin), "at the end") for _ in range(2)]
        assert len({slot.slot_path for slot in slots}) == 2
    with TaskRegistryClient(urls["Task Registry"]) as registry:
        events = registry.get_task("1.1")["events"]
    assert sorted(event["data"]["number"] for event in events) == list(range(12))
    assert process.stop() == 0
