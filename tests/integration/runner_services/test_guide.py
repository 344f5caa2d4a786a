"""The migration guide's words about the three services, run as they stand there.

Only the package's old name is replaced, and the ports, which must be free ones.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from keruta_agent.core import errors
from keruta_agent.server.runner_services.serve import POOL, REGISTRY, STORE
from tests.helpers.repositories import Repository, git
from tests.helpers.runner_services import Around, runner_services
from tests.helpers.waiting import wait_until

REGISTRY_SNIPPET = """
from necrocode.agent_runner import TaskRegistryClient

client = TaskRegistryClient(base_url="http://localhost:8001")

# タスク状態を更新
client.update_task_status(task_id="1.1", status="in_progress")

# イベントを記録
client.add_event(task_id="1.1", event_type="implementation_started", data={})

# 成果物を記録
client.add_artifact(task_id="1.1", artifact_type="diff", uri="s3://...", size_bytes=1024)
"""

POOL_SNIPPET = """
from necrocode.agent_runner import RepoPoolClient

client = RepoPoolClient(base_url="http://localhost:8002")

# スロットを割り当て
allocation = client.allocate_slot(
    repo_url="https://github.com/user/repo.git",
    required_by="runner-1"
)

# スロットを使用
# ...

# スロットを返却
client.release_slot(allocation.slot_id)
"""

STORE_SNIPPET = """
from necrocode.agent_runner import ArtifactStoreClient

client = ArtifactStoreClient(base_url="http://localhost:8003")

# 成果物をアップロード
uri = client.upload(
    artifact_type="diff",
    content=b"diff content",
    metadata={"task_id": "1.1"}
)
"""

ARTIFACT_SNIPPET = """
# ArtifactStoreClientを使用（RunnerOrchestrator内部で自動的に実行）
# 手動でアップロードする場合:
from necrocode.agent_runner import ArtifactStoreClient

client = ArtifactStoreClient(base_url="http://localhost:8003")
uri = client.upload(
    artifact_type="diff",
    content=diff_content.encode(),
    metadata={"task_id": "1.1"}
)

# Task Registryに記録
task_registry_client.add_artifact(
    task_id="1.1",
    artifact_type="diff",
    uri=uri,
    size_bytes=len(diff_content)
)
"""

TROUBLE_SNIPPET = """
client = TaskRegistryClient(base_url="http://localhost:8001")
# テスト
client.update_task_status("test", "in_progress")
"""


@pytest.fixture
def guide(
    tmp_path: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Around]:
    # The guide's repository is none that a test could clone.
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", f"url.{repository.path}.insteadOf")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "https://github.com/user/repo.git")
    with runner_services(tmp_path / "services") as started:
        yield started


def _run(around: Around, snippet: str, **names: object) -> dict[str, object]:
    text = snippet.replace("necrocode.agent_runner", "keruta_agent.runner")
    for port, service in (("8001", REGISTRY), ("8002", POOL), ("8003", STORE)):
        text = text.replace(port, around.urls[service].rpartition(":")[2])
    exec(compile(text, "guide", "exec"), names)
    return names


def test_task_registry_snippet_runs(guide: Around) -> None:
    _run(guide, REGISTRY_SNIPPET)

    task = guide.registry.get_task("1.1")
    assert task["status"] == "in_progress"
    assert [event["event_type"] for event in task["events"]] == ["implementation_started"]
    assert [(one["uri"], one["size_bytes"]) for one in task["artifacts"]] == [("s3://...", 1024)]


def test_repo_pool_snippet_runs(guide: Around) -> None:
    names = _run(guide, POOL_SNIPPET)

    allocation: Any = names["allocation"]

    def is_clean() -> bool:
        state = guide.pool.get_slot_status(allocation.slot_id)["state"]
        assert state != "allocated"
        return bool(state == "available")

    wait_until(is_clean, "the slot that was given back is clean")
    assert git(allocation.slot_path, "rev-parse", "refs/remotes/origin/main")


def test_artifact_store_snippet_runs(guide: Around) -> None:
    names = _run(guide, STORE_SNIPPET)

    uri = str(names["uri"])
    metadata = requests.get(
        f"{guide.urls[STORE]}/artifacts/metadata", params={"uri": uri}, timeout=10
    ).json()
    assert metadata["metadata"] == {"task_id": "1.1"}
    assert requests.get(uri, timeout=10).content == b"diff content"


def test_upload_by_hand_snippet_runs(guide: Around) -> None:
    names = _run(
        guide, ARTIFACT_SNIPPET, diff_content="+line\n", task_registry_client=guide.registry
    )

    recorded = guide.registry.get_task("1.1")["artifacts"]
    assert [(one["uri"], one["size_bytes"]) for one in recorded] == [(names["uri"], 6)]


def test_troubleshooting_snippet_runs(guide: Around) -> None:
    from keruta_agent.runner import TaskRegistryClient

    _run(guide, TROUBLE_SNIPPET, TaskRegistryClient=TaskRegistryClient)

    assert guide.registry.get_task("test")["status"] == "in_progress"


def test_curl_lines_of_the_guide_are_answered(guide: Around, repository: Repository) -> None:
    for service in (REGISTRY, POOL, STORE):
        health = requests.get(f"{guide.urls[service]}/health", timeout=10)
        assert (health.status_code, health.json()["status"]) == (200, "UP")
    slot = guide.pool.allocate_slot(str(repository.path), required_by="runner-1")
    status = requests.get(f"{guide.urls[POOL]}/pools/status", timeout=10).json()
    slot_id = status["pools"][0]["slots"][0]["slot_id"]
    assert slot_id == slot.slot_id

    released = requests.post(f"{guide.urls[POOL]}/slots/{slot_id}/release", timeout=10)

    assert released.status_code == 200
    assert released.json()["required_by"] is None


def test_errors_bear_the_names_that_the_guide_gives_them(tmp_path: Path) -> None:
    with runner_services(tmp_path, token="s3cret") as around:
        url = around.urls[REGISTRY]
        unauthorized = requests.put(f"{url}/tasks/1/status", json={"status": "x"}, timeout=10)
        assert unauthorized.status_code == 401
        assert json.loads(unauthorized.text)["error"]["code"] == "UNAUTHORIZED"
        assert requests.get(f"{url}/health", timeout=10).status_code == 200
        around.registry.update_task_status("1", "done")
        assert around.registry.health_check()
        from keruta_agent.runner import AuthenticationError, TaskRegistryClient

        with (
            TaskRegistryClient(url, api_key="wrong") as stranger,
            pytest.raises(AuthenticationError),
        ):
            stranger.update_task_status("1", "done")
    assert issubclass(errors.ConnectionError, errors.RunnerError)
