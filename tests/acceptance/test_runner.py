"""``keruta runner`` as a person, a Dispatcher and the agent start it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from keruta_agent.testing.language_model import ScriptedModel
from tests.helpers import coding
from tests.helpers.api import Api
from tests.helpers.coding import BRANCH, KEY, RIGHT, TOKEN
from tests.helpers.processes import Workplace
from tests.helpers.repositories import Repository, git
from tests.helpers.runner_services import Around, runner_services
from tests.helpers.waiting import wait_until


@pytest.fixture
def repository(workplace: Workplace) -> Repository:
    return coding.project(workplace.path / "project.git")


@pytest.fixture
def model(workplace: Workplace) -> Iterator[ScriptedModel]:
    with ScriptedModel(coding.fixing).serving() as found:
        workplace.environment.update(
            OPENAI_BASE_URL=found.endpoint, OPENAI_API_KEY=KEY, GIT_TOKEN=TOKEN
        )
        yield found


@pytest.fixture
def around(workplace: Workplace) -> Iterator[Around]:
    with runner_services(workplace.path / "services") as found:
        workplace.environment.update(
            TASK_REGISTRY_URL=found.registry.base_url,
            REPO_POOL_URL=found.pool.base_url,
            ARTIFACT_STORE_URL=found.store.base_url,
        )
        yield found


def _written(workplace: Workplace, repository: Repository, **fields: object) -> Path:
    path = workplace.path / "task.json"
    path.write_text(json.dumps(coding.task(repository, **fields).to_dict(), ensure_ascii=False))
    return path


def test_task_of_a_file_is_done_and_shown(
    workplace: Workplace, repository: Repository, model: ScriptedModel, around: Around
) -> None:
    workplace.forks = False
    path = _written(workplace, repository, title="instead")

    result = workplace.run("runner", "run", "--context", str(path), "--set", "title=Mend: half")

    assert result.returncode == 0, result.stderr
    assert repository.file(BRANCH, "half.py") == RIGHT.rstrip("\n")
    assert "Mend: half" in repository.message(BRANCH)
    assert "[100%] done: pushed feature/task-1.1" in result.stdout
    # The tests look for the keys in their own environment and in their parent's.
    assert "seen []" in result.stdout
    assert "leaked False" in result.stdout
    assert "leaked True" not in result.stdout
    (log,) = (artifact for artifact in _artifacts(around) if artifact[0] == "log")
    assert "leaked False" in log[1]
    for path in workplace.path.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path


def _artifacts(around: Around) -> list[tuple[str, str]]:
    stored = around.registry.get_task("1.1", spec_name="数学")
    return [(one["type"], around.store.download_text(one["uri"])) for one in stored["artifacts"]]


def test_task_that_fails_is_exit_code_1_and_json_says_why(
    workplace: Workplace, repository: Repository, model: ScriptedModel, around: Around
) -> None:
    path = _written(workplace, repository)

    result = workplace.run(
        "runner", "run", "--context", str(path), "--set", "branch_name=main", "--json"
    )

    assert result.returncode == 1
    shown = json.loads(result.stdout)
    assert (shown["success"], shown["error_type"]) == (False, "SecurityError")


@pytest.mark.parametrize(
    ("arguments", "variables", "message"),
    [
        (["--set", "nothing"], {}, "key=value"),
        (["--set", "what=1"], {}, "what"),
        (["--set", "test_commands=1"], {}, "test_commands"),
        ([], {"KIRO_URL": "x"}, "OPENAI_API_KEY"),
        ([], {"MESSAGE_BUS_URL": "x"}, "TASK_REGISTRY_URL"),
    ],
)
def test_invalid_input_is_reported_at_once(
    workplace: Workplace,
    repository: Repository,
    arguments: list[str],
    variables: dict[str, str],
    message: str,
) -> None:
    path = _written(workplace, repository)

    result = workplace.run("runner", "run", "--context", str(path), *arguments, **variables)

    assert result.returncode == 2
    assert message in result.stderr
    assert "Traceback" not in result.stderr


def test_dispatcher_starts_a_runner(
    workplace: Workplace, repository: Repository, model: ScriptedModel, around: Around
) -> None:
    context = {
        "task_id": "7",
        "spec_name": "chat-app",
        "task_title": "Mend half",
        "task_description": "half(4) has to be 2.",
        "dependencies": [],
        "required_skill": None,
        "repo_url": str(repository.path),
        "branch_name": None,
        "metadata": {},
    }
    done = subprocess.run(
        [sys.executable, "-m", "keruta_agent.runner"],
        cwd=workplace.path,
        env={
            **workplace.environment,
            "TASK_CONTEXT": json.dumps(context),
            "RUNNER_ID": "runner-of-the-dispatcher",
            "POOL_NAME": "local",
        },
        capture_output=True,
        encoding="utf-8",
        timeout=120,
        check=False,
    )

    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
    result = json.loads(done.stdout.splitlines()[-1])
    assert (result["success"], result["runner_id"]) == (True, "runner-of-the-dispatcher")
    assert "feature/task-chat-app-7" in repository.branches


def test_check_names_what_is_missing(
    workplace: Workplace, model: ScriptedModel, around: Around
) -> None:
    assert workplace.run("runner", "check").returncode == 0

    result = workplace.run("runner", "check", TASK_REGISTRY_URL="http://127.0.0.1:9")

    assert result.returncode == 1
    assert "PROBLEM Task Registry: http://127.0.0.1:9 does not answer" in result.stdout


def test_task_of_a_session_is_solved_by_the_runner(
    workplace: Workplace,
    repository: Repository,
    model: ScriptedModel,
    around: Around,
    api: Api,
) -> None:
    wish = coding.task(repository).to_dict() | {"slot_path": None}
    wish = {name: value for name, value in wish.items() if value not in (None, "", [])}
    del wish["task_id"], wish["spec_name"]
    task_id = api.file_task("", name="Mend half", parameters={"runner": wish})
    workplace.daemon("--keep-alive")

    found = api.wait_for(task_id, timeout_s=90)

    lines = api.lines(task_id)
    assert found["status"] == "COMPLETED", lines
    assert repository.file(BRANCH, "half.py") == RIGHT.rstrip("\n")
    assert "leaked True" not in lines
    assert any("round 2" in line for line in lines)
    assert "::group::push" in lines
    assert found["progress"] == 100
    stored = around.registry.get_task(task_id, spec_name=api.session_id)
    assert stored["status"] == "done"
    for path in workplace.path.rglob("*"):
        assert not path.is_file() or KEY.encode() not in path.read_bytes(), path


def test_task_over_http_is_a_job(
    workplace: Workplace, repository: Repository, model: ScriptedModel, around: Around
) -> None:
    server = workplace.start("runner", "serve", "--port", "0")
    server.wait_for("is ready")
    listening = re.search(r"http://127\.0\.0\.1:\d+", server.err)
    assert listening is not None, server.err
    token = (workplace.base_dir / "http-token").read_text().strip()
    values = {
        name: value
        for name, value in coding.task(repository).to_dict().items()
        if name not in ("slot_path", "slot_id")
    }

    def call(method: str, path: str, body: object = None) -> requests.Response:
        return requests.request(
            method,
            f"{listening[0]}/api/v1{path}",
            json=body,
            headers={"Authorization": f"Bearer {token}"},
            timeout=30,
        )

    sent = call("POST", "/coding-tasks", {"task": values})
    assert sent.status_code == 201, sent.text
    job = sent.json()["job"]

    def ended() -> bool:
        return call("GET", f"/jobs/{job}").json()["state"] == "finished"

    wait_until(ended, "the job's end", timeout_s=90)
    assert call("GET", f"/jobs/{job}").json()["outcome"] == "succeeded"
    assert repository.file(BRANCH, "half.py") == RIGHT.rstrip("\n")
    refused = call("POST", "/coding-tasks", {"task": {"task_id": "1"}})
    assert (refused.status_code, "title" in refused.text) == (400, True)
    secret = {**values, "metadata": {"repo_url": "https://u:pw@host/x.git"}}
    assert call("POST", "/coding-tasks", {"task": secret}).status_code == 400
    for wrong, said in (
        ({"timeout_seconds": 10**30}, "timeout_seconds must be at most"),
        ({"title": "\0"}, "title must be text"),
        ({"branch_name": "main"}, "is not allowed"),
    ):
        refused = call("POST", "/coding-tasks", {"task": {**values, **wrong}})
        assert (refused.status_code, said in refused.text) == (400, True), refused.text


def test_auto_fix_is_solved_by_the_runner_when_the_settings_say_so(
    workplace: Workplace, repository: Repository, model: ScriptedModel, around: Around, api: Api
) -> None:
    clone = workplace.path / "clone"
    git(workplace.path, "clone", "--quiet", str(repository.path), str(clone))
    workplace.environment.update(
        KERUTA_RUNNER_SOLVE_AUTO_FIX="true",
        KERUTA_AUTO_FIX_ENABLED="true",
        KERUTA_WORKING_DIR=str(clone),
    )
    failed = api.file_task(f"{sys.executable} -m unittest", name="検査")
    workplace.daemon("--keep-alive")
    assert api.wait_for(failed)["status"] == "FAILED"

    wait_until(lambda: api.fixes(failed), "the auto-fix task")
    (fix,) = api.fixes(failed)
    found = api.wait_for(fix, timeout_s=90)

    assert found["status"] == "COMPLETED", api.lines(fix)
    (branch,) = (name for name in repository.branches if name.startswith("feature/"))
    assert repository.file(branch, "half.py") != ""
    assert str(failed) not in branch
    assert "検査" in str(model.prompts[0])


def test_task_of_the_runner_goes_on_when_the_daemon_is_killed(
    workplace: Workplace, repository: Repository, model: ScriptedModel, around: Around, api: Api
) -> None:
    slow = f"sleep 2; {coding.TESTS}"
    wish = {
        "branch_name": BRANCH,
        "test_commands": [slow],
        "repo_url": str(repository.path),
    }
    task_id = api.file_task("", name="Mend half", parameters={"runner": wish})
    daemon = workplace.daemon("--keep-alive")
    wait_until(lambda: model.requests, "the model is asked")
    daemon.kill()
    workplace.daemon("--keep-alive")

    assert api.wait_for(task_id, timeout_s=90)["status"] == "COMPLETED", api.lines(task_id)
    assert len(model.requests) == 2
    assert repository.file(BRANCH, "half.py") == RIGHT.rstrip("\n")


def test_cancelled_task_of_the_runner_gives_its_slot_back(
    workplace: Workplace, repository: Repository, model: ScriptedModel, around: Around, api: Api
) -> None:
    wish = {
        "branch_name": BRANCH,
        "test_commands": ["touch started; sleep 1000"],
        "repo_url": str(repository.path),
    }
    task_id = api.file_task("", name="Mend half", parameters={"runner": wish})
    workplace.daemon("--keep-alive", KERUTA_STOP_GRACE="20s")
    wait_until(lambda: list(workplace.path.rglob("started")), "the tests run")

    assert workplace.run("queue", "cancel", "1").returncode == 0

    assert api.wait_for(task_id)["status"] == "FAILED"  # as of every task that a person cancels
    (pool,) = around.pool.get_pools_status()["pools"]
    assert pool["allocated"] == 0
    assert around.registry.get_task(task_id, spec_name=api.session_id)["status"] == "cancelled"
