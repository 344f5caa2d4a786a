"""The code of the migration guide, run as it stands there, with the new package's name.

Addresses are those of this test's servers, and so is the repository: the guide's need a network.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from keruta_agent.core import errors
from keruta_agent.runner import RetryConfig, RunnerConfig, RunnerOrchestrator, TaskContext
from keruta_agent.runner.services import service
from keruta_agent.testing.language_model import ScriptedModel
from tests.helpers import coding
from tests.helpers.coding import KEY
from tests.helpers.repositories import Repository, git
from tests.helpers.runner_services import Around, runner_services
from tests.helpers.waiting import wait_until

GUIDE = (Path(__file__).parent / "guide.md").read_text(encoding="utf-8")
_PART = re.compile(r"^#{2,4} (?P<title>[^\n]*)$|^```(?P<kind>\w*)\n(?P<text>.*?)^```", re.M | re.S)


def snippet(title: str, kind: str = "python", number: int = 0) -> str:
    """Return a block of code below a heading."""
    found, is_below = [], False
    for part in _PART.finditer(GUIDE):
        if part["title"] is not None:
            is_below = title in part["title"] or (
                is_below and part["title"] in ("旧コード", "新コード")
            )
        elif is_below and part["kind"] == kind:
            found.append(part["text"])
    return found[number]


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return coding.project(tmp_path / "project.git")


@pytest.fixture
def around(tmp_path: Path) -> Iterator[Around]:
    with runner_services(tmp_path / "services") as services:
        yield services


class Guide:
    """An interpreter of snippets, one after the other, with the names that they have left."""

    def __init__(self, around: Around, repository: Repository, tmp_path: Path) -> None:
        self.names: dict[str, Any] = {"Path": Path, "os": os}
        self._instead = {
            "necrocode.agent_runner": "keruta_agent.runner",
            "http://localhost:8001": around.registry.base_url,
            "http://localhost:8002": around.pool.base_url,
            "http://localhost:8003": around.store.base_url,
            "https://github.com/user/repo.git": str(repository.path),
            'Path("/workspace")': f'Path("{tmp_path}/workspace")',
        }

    def run(self, text: str) -> dict[str, Any]:
        """Run one snippet and return the names that are known then."""
        for there, here in self._instead.items():
            text = text.replace(there, here)
        exec(compile(text, "guide", "exec"), self.names)
        return self.names


@pytest.fixture
def guide(around: Around, repository: Repository, tmp_path: Path) -> Guide:
    return Guide(around, repository, tmp_path)


def test_task_registry_client(guide: Guide, around: Around) -> None:
    guide.run(snippet("TaskRegistryClient"))

    stored = around.registry.get_task("1.1")
    assert stored["status"] == "in_progress"
    assert [event["event_type"] for event in stored["events"]] == ["implementation_started"]
    assert [(one["uri"], one["size_bytes"]) for one in stored["artifacts"]] == [("s3://...", 1024)]


def test_repo_pool_client(guide: Guide, around: Around) -> None:
    names = guide.run(snippet("RepoPoolClient"))

    slot = names["allocation"]

    def is_back() -> bool:
        return around.pool.get_slot_status(slot.slot_id)["state"] == "available"

    wait_until(is_back, "the slot is clean again")
    # A slot that nobody has holds no files but git's own.
    assert [path.name for path in slot.slot_path.iterdir()] == [".git"]


def test_artifact_store_client(guide: Guide, around: Around) -> None:
    names = guide.run(snippet("ArtifactStoreClient"))

    assert around.store.download(names["uri"]) == b"diff content"


def test_orchestrator_is_made_as_in_example_1(
    guide: Guide, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)

    names = guide.run(snippet("例1", number=1))

    assert isinstance(names["orchestrator"], RunnerOrchestrator)
    assert KEY not in repr(names["config"])


def test_old_code_of_example_1_gets_the_new_names(guide: Guide) -> None:
    with pytest.raises(errors.SettingsError, match=r"message_bus_url.*task_registry_url"):
        guide.run(snippet("例1", number=0))


def test_task_runs_as_in_example_2_and_is_recorded(
    guide: Guide,
    around: Around,
    repository: Repository,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    git(tmp_path, "clone", "--quiet", str(repository.path), "workspace")
    with ScriptedModel(coding.says(coding.RIGHT)).serving() as model:
        monkeypatch.setenv("OPENAI_BASE_URL", model.endpoint)
        guide.run(snippet("例1", number=1))
        names = guide.run(
            "from necrocode.agent_runner import TaskContext\n" + snippet("例2", number=1)
        )

    assert isinstance(names["task_context"], TaskContext)
    assert names["result"].success, names["result"].error
    stored = around.registry.get_task("1.1", spec_name="chat-app")
    assert stored["status"] == "done"
    assert "feature/task-1.1-database-schema" in repository.branches
    assert model.requests[0]["model"] == "gpt-4"


def test_artifact_is_uploaded_as_in_example_3(guide: Guide, around: Around) -> None:
    guide.names |= {"diff_content": "a diff", "task_registry_client": around.registry}

    names = guide.run(snippet("例3", number=1))

    assert around.store.download_text(names["uri"]) == "a diff"
    assert around.registry.get_task("1.1")["artifacts"][0]["uri"] == names["uri"]


def test_connection_is_tried_as_in_problem_4(guide: Guide, around: Around) -> None:
    guide.run("from necrocode.agent_runner import TaskRegistryClient\n" + snippet("問題4"))

    assert around.registry.get_task("test")["status"] == "in_progress"


def test_service_that_is_away_is_the_error_of_problem_1(
    guide: Guide, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_Usual", lambda: RetryConfig(max_retries=0))
    guide._instead["http://localhost:8001"] = "http://127.0.0.1:9"

    with pytest.raises(ConnectionError, match=r"Failed to connect to http://127\.0\.0\.1:9"):
        guide.run("from necrocode.agent_runner import TaskRegistryClient\n" + snippet("問題4"))


def test_new_configuration_of_step_2_is_read(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(snippet("ステップ 2", "yaml", 1), encoding="utf-8")

    config = RunnerConfig.from_file(path, {"HOME": str(tmp_path)})

    assert config.repo_pool_url == "http://localhost:8002"
    assert (config.llm_model, config.llm_timeout_seconds) == ("gpt-4", 120)


def test_old_configuration_of_step_2_gets_the_new_names(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(snippet("ステップ 2", "yaml", 0), encoding="utf-8")

    with pytest.raises(errors.SettingsError, match="task_registry_url"):
        RunnerConfig.from_file(path, {"HOME": str(tmp_path)})


def _variables(text: str) -> dict[str, str]:
    pairs = (line.removeprefix("export ").partition("=") for line in text.splitlines())
    return {name: value for name, _, value in pairs}


def test_variables_of_step_3(tmp_path: Path) -> None:
    home = {"HOME": str(tmp_path)}

    config = RunnerConfig.from_file(None, home | _variables(snippet("ステップ 3", "bash", 1)))

    assert config.artifact_store_url == "http://localhost:8003"
    assert config.model({"OPENAI_API_KEY": "your-api-key"}).api_key == "your-api-key"
    with pytest.raises(errors.SettingsError, match="TASK_REGISTRY_URL"):
        RunnerConfig.from_file(None, home | _variables(snippet("ステップ 3", "bash", 0)))


def test_curl_lines_of_the_problems(around: Around, repository: Repository) -> None:
    for client in (around.registry, around.pool, around.store):
        assert requests.get(f"{client.base_url}/health", timeout=10).status_code == 200
    slot = around.pool.allocate_slot(str(repository.path), "somebody")

    status = requests.get(f"{around.pool.base_url}/pools/status", timeout=10)
    release = requests.post(f"{around.pool.base_url}/slots/{slot.slot_id}/release", timeout=10)

    assert status.json()["pools"][0]["allocated"] == 1
    assert release.ok
    assert around.pool.get_slot_status(slot.slot_id)["state"] in ("available", "cleaning")
