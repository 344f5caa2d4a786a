"""Coding tasks in a session that has a repository."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import requests

from keruta_agent.testing.language_model import ScriptedModel
from tests.helpers import coding
from tests.helpers.api import Api
from tests.helpers.coding import KEY, RIGHT, TESTS
from tests.helpers.embedded_server import embedded_server
from tests.helpers.processes import Workplace
from tests.helpers.repositories import Repository


@pytest.fixture
def repository(workplace: Workplace) -> Repository:
    return coding.project(workplace.path / "project.git")


@pytest.fixture
def session(workplace: Workplace, repository: Repository) -> Iterator[Api]:
    with embedded_server(workplace.path / "server") as server:
        api = Api(server.url, repository_url=str(repository.path))
        workplace.environment.update(KERUTA_API_URL=api.url, KERUTA_SESSION_ID=api.session_id)
        yield api


def test_task_is_solved_in_the_clone_of_the_session_and_pushed_once(
    workplace: Workplace, repository: Repository, session: Api
) -> None:
    with ScriptedModel(coding.fixing).serving() as model:
        workplace.environment.update(OPENAI_BASE_URL=model.endpoint, OPENAI_API_KEY=KEY)
        wish = {"test_commands": [TESTS], "description": "半分: half(4) has to be 2."}
        task_id = session.file_task("", name="Mend half", parameters={"runner": wish})
        workplace.daemon("--keep-alive")

        found = session.wait_for(task_id, timeout_s=90)

    assert found["status"] == "COMPLETED", session.lines(task_id)
    (branch,) = (name for name in repository.branches if name != "main")
    assert branch.startswith("feature/")
    commit = repository.branches[branch][:12]
    assert found["message"] == f"Pushed {commit} to {branch}: 1 file changed, +1 -1"
    assert repository.file(branch, "half.py") == RIGHT.rstrip("\n")
    assert repository.files(branch) == [".gitignore", "half.py", "test_half.py"]
    assert repository.file("main", "half.py") == coding.BROKEN.rstrip("\n")
    page = requests.get(
        f"{session.url}/tasks/{task_id}", headers={"Accept-Language": "en"}, timeout=30
    ).text
    account = page.partition('data-part="verification"')[2].partition("</section>")[0]
    assert "These tests decided:" in account
    assert "1 passed (unittest)" in account
    assert "1 failed (unittest)" in account.partition("Before the change")[2]


@pytest.mark.parametrize("wish", [1, "yes", []])
def test_invalid_wish_is_reported(
    workplace: Workplace, repository: Repository, session: Api, wish: object
) -> None:
    task_id = session.file_task("echo script", name="x", parameters={"runner": wish})
    workplace.daemon("--keep-alive")

    assert session.wait_for(task_id)["status"] == "FAILED"
    assert "parameters.runner" in str(session.task(task_id))


def test_script_runs_when_the_runner_is_not_wanted(workplace: Workplace, session: Api) -> None:
    task_id = session.file_task("echo script", parameters={"runner": False})
    workplace.daemon("--keep-alive")

    assert session.wait_for(task_id)["status"] == "COMPLETED"
    assert "script" in session.lines(task_id)
