"""Whole runs: what comes of a task, what is reported of it, and what is left."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from keruta_agent.core import errors
from keruta_agent.runner import RunnerState
from tests.helpers import coding
from tests.helpers.coding import (
    BRANCH,
    KEY,
    RIGHT,
    TESTS,
    TOKEN,
    WRONG,
    runner_with,
    says,
    slot_in,
    task,
)
from tests.helpers.repositories import Repository
from tests.helpers.runner_services import Around


def _lent(around: Around) -> int:
    return sum(int(pool["allocated"]) for pool in around.pool.get_pools_status()["pools"])


def _kept(tmp_path: Path) -> Path:
    (directory,) = (tmp_path / "evidence").iterdir()
    return directory


def test_failing_test_is_fixed_in_the_second_round(
    tmp_path: Path, repository: Repository, around: Around, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_TOKEN", TOKEN)
    main = repository.branches["main"]
    percents: list[int] = []
    with runner_with(
        tmp_path, coding.fixing, around, on_step=lambda step: percents.append(step.percent)
    ) as (runner, model):
        result = runner.run(task(repository))

    assert result.success, result.error
    assert repository.file(BRANCH, "half.py") == RIGHT.rstrip("\n")
    assert repository.files(BRANCH) == [".gitignore", "half.py", "test_half.py"]
    assert repository.branches["main"] == main
    assert repository.message(BRANCH).startswith("feat(数学): Mend half [Task 1.1]")
    assert result.push_result is not None
    assert result.push_result.commit_hash == repository.branches[BRANCH]
    assert result.impl_result is not None
    assert (result.impl_result.rounds, len(model.requests)) == (2, 2)
    assert percents == sorted(percents)
    assert percents[-1] == 100
    assert _lent(around) == 0

    stored = around.registry.get_task("1.1", spec_name="数学")
    kinds = [event["event_type"] for event in stored["events"]]
    assert stored["status"] == "done"
    assert kinds[0] == "implementation_started"
    assert kinds[-1] == "TaskCompleted"
    assert {"slot_allocated", "workspace_prepared", "tests_run", "committed", "pushed"} <= {*kinds}
    steps = [event for event in stored["events"] if event["event_type"] == "step_started"]
    told = [event["data"]["step"] for event in steps]
    assert [told[0], told[1], told[-3:]] == ["slot", "workspace", ["commit", "push", "artifacts"]]
    assert {"implement", "check"} <= {*told}
    by_type = {
        entry["type"]: around.store.download_text(entry["uri"]) for entry in stored["artifacts"]
    }
    assert sorted(by_type) == ["diff", "log", "test"]
    assert "-    return number\n+    return number / 2" in by_type["diff"]
    assert "pushes feature/task-1.1" in by_type["log"]
    asked = json.loads(by_type["log"].splitlines()[-1])
    assert asked["request"]["messages"] and "code_changes" in asked["answer"]["text"]
    assert json.loads(by_type["test"])["success"] is True
    assert [artifact.size_bytes for artifact in result.artifacts] == [
        len(by_type[artifact.type.value].encode()) for artifact in result.artifacts
    ]


def test_keys_are_nowhere(
    tmp_path: Path, repository: Repository, around: Around, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GIT_TOKEN", TOKEN)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    printing = f"echo {KEY} {TOKEN} && env && {TESTS}"
    hidden = task(repository, test_commands=[printing], description=f"Do not tell {KEY}")
    with runner_with(tmp_path, coding.fixing, around) as (runner, model):
        result = runner.run(hidden)

    assert result.success, result.error
    assert result.test_result is not None
    assert "seen []" in result.test_result.test_results[0].stdout
    texts = f"{result} {runner!r} {runner.config!r} {runner.config.to_dict()} {model.requests}"
    stored = json.dumps(around.registry.get_task("1.1", spec_name="数学"))
    for secret in (KEY, TOKEN):
        assert secret not in texts
        assert secret not in stored
        for path in tmp_path.rglob("*"):
            assert not path.is_file() or secret.encode() not in path.read_bytes(), path


def test_evidence_of_a_failure_is_stored(
    tmp_path: Path, repository: Repository, around: Around
) -> None:
    with runner_with(tmp_path, says(WRONG, f"{WRONG}# sure\n"), around) as (runner, _):
        result = runner.run(task(repository))

    assert (result.success, result.error_type) == (False, "TestExecutionError")
    assert "twice in the same way" in str(result.error)
    assert BRANCH not in repository.branches
    stored = around.registry.get_task("1.1", spec_name="数学")
    assert stored["status"] == "failed"
    failed = stored["events"][-1]
    assert failed["event_type"] == "TaskFailed"
    assert failed["data"]["error_type"] == "TestExecutionError"
    by_type = {
        entry["type"]: around.store.download_text(entry["uri"]) for entry in stored["artifacts"]
    }
    assert sorted(by_type) == ["diff", "log", "test"]
    assert "+    return number / 3" in by_type["diff"]
    assert "1.3333" in by_type["test"]
    assert "1.3333" in by_type["log"]
    assert result.test_result is not None
    assert not result.test_result.success
    assert _lent(around) == 0
    assert runner.state is RunnerState.FAILED


def test_evidence_stays_here_when_there_is_no_store(tmp_path: Path, repository: Repository) -> None:
    slot = slot_in(tmp_path, repository)
    with runner_with(tmp_path, says(WRONG, f"{WRONG}# sure\n")) as (runner, _):
        result = runner.run(task(slot_path=str(slot)))

    assert not result.success
    kept = _kept(tmp_path)
    assert str(kept) in str(result.error)
    assert sorted(path.name for path in kept.iterdir()) == ["diff.patch", "run.log", "tests.json"]
    assert "+    return number / 3" in (kept / "diff.patch").read_text()


def test_task_is_done_again_and_by_the_same_runner(
    tmp_path: Path, repository: Repository, around: Around
) -> None:
    with runner_with(tmp_path, coding.fixing, around) as (runner, model):
        first = runner.run(task(repository))
        commit = repository.branches[BRANCH]
        second = runner.run(task(repository))
        other = runner.run(task(repository, task_id="1.2", branch_name="feature/other"))

    assert [result.success for result in (first, second, other)] == [True, True, True], second
    assert repository.branches[BRANCH] == commit
    assert second.impl_result is not None
    assert (second.impl_result.rounds, second.impl_result.files_changed) == (0, ["half.py"])
    assert len(model.requests) == 4
    assert _lent(around) == 0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"title": "", "description": " "}, "title is required"),
        ({"timeout_seconds": 0}, "timeout_seconds must be positive"),
        ({"timeout_seconds": 10**400}, "timeout_seconds must be at most"),
        ({"max_tokens": -1}, "max_tokens must be positive"),
        ({"test_commands": ["true", " "]}, "empty command"),
        ({"test_commands": ["true \0"]}, "test_commands must be text without NUL"),
        ({"task_id": "\ud800"}, "task_id must be text without NUL and halves"),
        ({"title": "\ud800"}, "title must be text without NUL and halves"),
        ({"task_id": "a\nb", "branch_name": ""}, "task_id must be one line"),
        ({"task_id": ".."}, "task_id must be one line"),
        ({"metadata": {"base_branch": ["x"]}}, "metadata.base_branch must be text"),
        ({"slot_path": "/nowhere/at/all"}, "slot_path does not exist"),
        ({"slot_path": None}, "slot_path is required"),
        ({"playbook_path": "/none.yaml"}, "playbook_path does not exist"),
    ],
)
def test_invalid_task_is_a_failed_result(
    tmp_path: Path, fields: dict[str, Any], message: str
) -> None:
    with runner_with(tmp_path, []) as (runner, model):
        result = runner.run(task(**{"slot_path": str(tmp_path), **fields}))

    assert (result.success, result.error_type) == (False, "TaskContextValidationError")
    assert message in str(result.error)
    assert model.requests == []


def test_task_whose_id_cannot_be_reported_is_a_failed_result_too(
    tmp_path: Path, around: Around
) -> None:
    with runner_with(tmp_path, [], around) as (runner, _):
        result = runner.run(task(task_id="\ud800", slot_path=str(tmp_path)))

    assert (result.success, result.error_type) == (False, "TaskContextValidationError")
    assert (_kept(tmp_path) / "run.log").exists()


def test_branch_that_must_not_be_pushed_costs_nothing(
    tmp_path: Path, repository: Repository, around: Around
) -> None:
    with runner_with(tmp_path, [], around) as (runner, model):
        result = runner.run(task(repository, branch_name="main"))

    assert (result.success, result.error_type) == (False, "SecurityError")
    assert model.requests == []
    assert around.pool.get_pools_status()["pools"] == []


def test_pool_without_slots_fails_the_task_and_releases_nobodys(
    tmp_path: Path, repository: Repository, around: Around
) -> None:
    others = [around.pool.allocate_slot(str(repository.path), f"other-{n}") for n in range(2)]
    with runner_with(tmp_path, [], around) as (runner, _):
        result = runner.run(task(repository, timeout_seconds=1))

    assert (result.success, result.error_type) in (
        (False, "SlotAllocationError"),
        (False, "TimeoutError"),
    )
    assert _lent(around) == len(others)


def test_registry_that_is_away_fails_the_task_before_it_begins(
    tmp_path: Path, repository: Repository, around: Around
) -> None:
    with runner_with(
        tmp_path, [], around, task_registry_url="http://127.0.0.1:9"
    ) as (runner, model):  # fmt: skip
        result = runner.run(task(repository))

    assert (result.success, result.error_type) == (False, "ConnectionError")
    assert "Failed to connect to http://127.0.0.1:9" in str(result.error)
    assert model.requests == []


def test_store_that_is_away_fails_the_task_and_the_evidence_stays_here(
    tmp_path: Path, repository: Repository, around: Around
) -> None:
    with runner_with(
        tmp_path, coding.fixing, around, artifact_store_url="http://127.0.0.1:9"
    ) as (runner, _):  # fmt: skip
        result = runner.run(task(repository))

    assert (result.success, result.error_type) == (False, "ArtifactUploadError")
    assert around.registry.get_task("1.1", spec_name="数学")["status"] == "failed"
    assert (_kept(tmp_path) / "tests.json").exists()
    assert BRANCH in repository.branches
    assert _lent(around) == 0


def test_playbook_is_executed_and_its_failure_goes_to_the_model(
    tmp_path: Path, repository: Repository
) -> None:
    slot = slot_in(tmp_path, repository)
    playbook = tmp_path / "playbook.yaml"
    playbook.write_text(
        "name: p\nsteps:\n"
        "- {name: lint, command: \"! grep -n 'number / 3' half.py\"}\n"
        "- {name: format, command: \"echo '# formatted' >> half.py; touch new\"}\n"
        "- {name: skipped, command: exit 9, condition: build_enabled == true and not lint}\n"
    )
    context = task(slot_path=str(slot), playbook_path=str(playbook))
    with runner_with(tmp_path, says(WRONG, RIGHT)) as (runner, model):
        result = runner.run(context)

    assert result.success, result.error
    assert "return number / 3" in model.prompts[1]
    assert "# formatted" in repository.file(BRANCH, "half.py")
    assert "new" not in repository.files(BRANCH)
    assert result.test_result is not None
    assert [single.command.partition(":")[0] for single in result.test_result.test_results] == [
        "lint",
        "format",
        TESTS.partition(":")[0],
    ]


def test_missing_key_is_reported_by_the_name_of_its_variable(
    tmp_path: Path, repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    slot = slot_in(tmp_path, repository)
    with runner_with(tmp_path, [], llm_api_key=None) as (runner, _):
        result = runner.run(task(slot_path=str(slot)))

    assert (result.success, result.error_type) == (False, "AuthenticationError")
    assert "OPENAI_API_KEY" in str(result.error)


def test_executor_may_be_replaced(tmp_path: Path, repository: Repository) -> None:
    slot = slot_in(tmp_path, repository)
    with runner_with(tmp_path, []) as (runner, _):
        runner.task_executor = _Writer()
        result = runner.run(task(slot_path=str(slot)))

    assert result.success, result.error
    assert repository.file(BRANCH, "half.py") == RIGHT.rstrip("\n")


class _Writer:
    def execute(self, task_context: Any, workspace: Any) -> Any:
        from keruta_agent.runner import ImplementationResult

        (workspace.path / "half.py").write_text(RIGHT)
        return ImplementationResult(True, "", ["half.py"], 0.1)


def test_registry_that_goes_away_fails_the_task_and_keeps_what_is_stored(
    tmp_path: Path, repository: Repository, around: Around, monkeypatch: pytest.MonkeyPatch
) -> None:
    with runner_with(tmp_path, coding.fixing, around) as (runner, _):
        registry = runner.task_registry_client
        assert registry is not None
        update = registry.update_task_status

        def away(task_id: str, status: str, *more: Any, **named: Any) -> None:
            if status == "done":
                raise errors.ConnectionError("Failed to connect to the registry")
            update(task_id, status, *more, **named)

        monkeypatch.setattr(registry, "update_task_status", away)
        result = runner.run(task(repository))

    assert (result.success, result.error_type) == (False, "ConnectionError")
    assert BRANCH in repository.branches
    stored = around.registry.get_task("1.1", spec_name="数学")
    assert stored["status"] == "failed"
    assert sorted(entry["type"] for entry in stored["artifacts"]) == ["diff", "log", "test"]
    assert len(result.artifacts) == 3
