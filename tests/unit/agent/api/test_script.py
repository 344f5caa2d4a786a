"""What a task wants executed, in both shapes of the answer."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
import requests_mock

from keruta_agent.agent.api import KerutaClient, parsing
from keruta_agent.core import errors
from tests.helpers.keruta_wire import API, SPRING_500, Sent, TaskBody

SCRIPT = f"{API}/tasks/t1/script"


def _answer(**script: Any) -> dict[str, Any]:
    return {"success": True, "taskId": "t1", "script": script}


def test_script_is_read_with_its_parameters(
    client: KerutaClient, wire: requests_mock.Mocker, sent: Sent
) -> None:
    wire.get(
        SCRIPT,
        json=_answer(
            content="echo hi\n",
            language="bash",
            filename="task.sh",
            parameters={"env": {"A": 1}, "x": [2]},
        ),
    )

    script = client.script("t1")

    assert (script.content, script.language, script.filename) == ("echo hi\n", "bash", "task.sh")
    assert script.environment == {"A": "1"}
    assert len(sent()) == 1


def test_script_file_name_cannot_leave_its_directory(
    client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    answer = _answer(content="true", filename="../../.bashrc", parameters={"a": 1})
    wire.get(SCRIPT, json=answer)

    assert client.script("t1").filename == ".bashrc"


def test_script_takes_the_parameters_of_the_task_when_the_route_has_none(
    client: KerutaClient, wire: requests_mock.Mocker, task_body: TaskBody
) -> None:
    wire.get(SCRIPT, json=_answer(content="true", parameters={}))
    wire.get(f"{API}/tasks/t1", json=task_body(parameters={"env": {"A": "b"}}))

    assert client.script("t1").environment == {"A": "b"}


@pytest.mark.parametrize("content", ["", "  \n"])
def test_script_that_is_blank_is_looked_for_in_the_task(
    content: str, client: KerutaClient, wire: requests_mock.Mocker, task_body: TaskBody
) -> None:
    wire.get(SCRIPT, json=_answer(content=content))
    wire.get(f"{API}/tasks/t1", json=task_body(script="echo task", parameters={"a": 1}))

    script = client.script("t1")

    assert (script.content, script.parameters) == ("echo task", {"a": 1})


def test_script_route_that_is_missing_is_asked_once(
    client: KerutaClient, wire: requests_mock.Mocker, task_body: TaskBody, sent: Sent
) -> None:
    wire.get(SCRIPT, **SPRING_500)
    wire.get(f"{API}/tasks/t1", json=task_body(script="echo task"))

    assert client.script("t1").content == "echo task"
    assert client.script("t1").content == "echo task"
    script, task = ("GET", "/tasks/t1/script"), ("GET", "/tasks/t1")
    assert sent() == [script, task, script, task, task]


def test_script_of_an_unknown_task_is_not_found(
    client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    wire.get(SCRIPT, status_code=404)
    wire.get(f"{API}/tasks/t1", status_code=404)

    with pytest.raises(errors.ApiNotFound) as caught:
        client.script("t1")

    assert not isinstance(caught.value, errors.ApiUnsupported)


@pytest.mark.parametrize("body", [{}, [], {"script": None}, {"script": {"content": 7}}])
def test_script_answer_without_sense_is_a_failure(
    body: Any, client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    wire.get(SCRIPT, json=body)

    with pytest.raises(errors.ApiFailed):
        client.script("t1")


def test_script_of_one_stage_is_that_stage(
    client: KerutaClient, wire: requests_mock.Mocker
) -> None:
    answer = _answer(executeScript="echo run", installScript="", cleanupScript=None)
    wire.get(SCRIPT, json=answer | {"environment": {"A": "1"}})

    script = client.script("t1")

    assert script.content == "echo run"
    assert script.environment == {"A": "1"}


def _run(client: KerutaClient, wire: requests_mock.Mocker, tmp_path: Path, **stages: str) -> Any:
    wire.get(SCRIPT, json=_answer(**stages) | {"environment": {"A": "1"}})
    file = tmp_path / "task.sh"
    file.write_text(client.script("t1").content)
    return subprocess.run(
        ["bash", str(file)], input="typed\n", capture_output=True, text=True, timeout=30
    )


def test_script_stages_run_in_order_and_share_stdin(
    client: KerutaClient, wire: requests_mock.Mocker, tmp_path: Path
) -> None:
    done = _run(
        client,
        wire,
        tmp_path,
        installScript="echo 'it''s' \"$((1+1))\"",
        executeScript="read -r line; echo \"got $line\"\ncat <<'END'\n{brace\nEND\n",
        cleanupScript="echo 片付け",
    )

    assert done.returncode == 0
    assert done.stdout == "its 2\ngot typed\n{brace\n片付け\n"


@pytest.mark.parametrize(
    ("install", "execute", "code", "output"),
    [
        ("true", "echo x; exit 7", 7, "x\nclean\n"),
        ("exit 3", "echo never", 3, "clean\n"),
        ("echo 'unclosed", "echo never", 2, "clean\n"),
    ],
)
def test_script_stages_end_with_the_first_failure_and_always_clean_up(
    install: str,
    execute: str,
    code: int,
    output: str,
    client: KerutaClient,
    wire: requests_mock.Mocker,
    tmp_path: Path,
) -> None:
    done = _run(
        client,
        wire,
        tmp_path,
        installScript=install,
        executeScript=execute,
        cleanupScript="echo clean; exit 9",
    )

    assert (done.returncode, done.stdout) == (code, output)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("run.sh", "run.sh"),
        ("../../etc/passwd", "passwd"),
        ("C:\\temp\\run.sh", "run.sh"),
        ("/abs/タスク.sh", "タスク.sh"),
        ("..", "d"),
        (".", "d"),
        ("", "d"),
        ("dir/..", "d"),
        ("a\x00b\n.sh", "ab.sh"),
    ],
)
def test_base_name_cannot_leave_its_directory(name: str, expected: str) -> None:
    assert parsing.base_name(name, default="d") == expected
