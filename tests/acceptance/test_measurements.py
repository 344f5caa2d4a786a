"""What a run uses is kept through ``kill -9`` of the daemon, shown, and reported to the API."""

from __future__ import annotations

import json
from typing import Any

import requests

from tests.helpers.api import Api
from tests.helpers.processes import Workplace
from tests.helpers.waiting import wait_until


def usage_of(workplace: Workplace, job: str) -> dict[str, Any] | None:
    shown = json.loads(workplace.run("queue", "show", job, "--json").stdout)
    usage: dict[str, Any] | None = shown["runs"][0]["usage"]
    return usage


def test_measurements_survive_a_killed_daemon_and_reach_the_api(
    workplace: Workplace, api: Api
) -> None:
    task_id = api.file_task(
        "python3 -c 'import time; held = bytearray(40_000_000); time.sleep(0.7)'\n"
        "while [ ! -e $KERUTA_RUN_DIR/go ]; do sleep 0.1; done"
    )
    daemon = workplace.daemon()
    wait_until(lambda: workplace.run_directories(), "the run begins")

    def has_seen_the_memory() -> bool:
        usage = usage_of(workplace, task_id)
        return usage is not None and usage["peak_memory_bytes"] > 40_000_000

    wait_until(has_seen_the_memory, "the memory of the child is seen")
    daemon.kill()
    workplace.daemon()
    (workplace.run_directories()[0] / "go").touch()
    assert api.wait_for(task_id)["status"] == "COMPLETED"

    usage = usage_of(workplace, task_id)
    assert usage is not None
    assert usage["peak_memory_bytes"] > 40_000_000
    assert usage["processes_seen"] >= 2
    assert usage["wall_s"] >= 0.7
    assert "MB at most" in workplace.run("queue", "show", task_id).stdout
    (sent,) = requests.get(f"{api.url}/api/v1/tasks/{task_id}/metrics", timeout=30).json()
    assert sent["metrics"]["peakMemoryBytes"] == usage["peak_memory_bytes"]
    assert sent["metrics"]["processesSeen"] == usage["processes_seen"]
    points = [sample["memory_bytes"] for sample in usage["samples"]]
    assert sent["metrics"]["series"]["memoryBytes"] == points
