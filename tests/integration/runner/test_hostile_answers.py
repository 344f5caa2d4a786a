"""Answers of a model that want out of the workspace, or into what git and others act upon.

The table is ``hostile_answers.json``: what the model says, which error it has to be, and a part of
its message. After each of them the workspace, with its git directory, and a directory beside it
have to be as they were, byte by byte.
"""

from __future__ import annotations

import hashlib
import json
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from keruta_agent.core.coding.model import Workspace
from keruta_agent.runner import TaskExecutor
from keruta_agent.runner.budget import Limits
from keruta_agent.testing.language_model import ScriptedModel, Turn
from tests.helpers.model_server import config_of, repository, task

TABLE: list[dict[str, Any]] = json.loads(
    Path(__file__).with_name("hostile_answers.json").read_text(encoding="utf-8")
)
CALC = "def add(a, b):\n\n    return a - b\n\n"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace that holds every trap, and what must not be touched beside it.

    For all answers together: none of them may change anything.
    """
    place = tmp_path_factory.mktemp("p")
    canary = place / "canary"
    canary.mkdir()
    (canary / "precious.txt").write_text("precious\n")
    root = place / "workspace"
    repository(root, src__calc_py=CALC, README_md="# 計算\n")
    (root / "picture.png").write_bytes(b"\x89PNG\0\0")
    (root / "link-file").symlink_to("../canary/precious.txt")
    (root / "link-dir").symlink_to("../canary")
    (root / "link-chain").symlink_to("link-dir")
    (root / "link-absolute").symlink_to(canary)
    (root / "link-nowhere").symlink_to("../canary/pwned")
    (root / "link-loop").symlink_to("link-loop")
    (root / "link-git").symlink_to(".git")
    (root / "link-inside").symlink_to("src/calc.py")
    (root / "link-device").symlink_to("/dev/null")
    repository(root / "vendor" / "lib", x_c="int x;\n")
    with (root / ".git" / "config").open("a") as file:
        file.write("[core]\n\thooksPath = tools/hooks\n")
    os.mkfifo(root / "pipe")
    # The path of a socket may have 107 bytes: it is bound where it is short, and moved.
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(place / "s"))
    (place / "s").rename(root / "socket")
    return place


def answer_of(case: dict[str, Any], place: Path) -> str:
    if "answer" in case:
        return str(case["answer"]).replace("{canary}", str(place / "canary"))
    text = json.dumps({"code_changes": case["changes"], "explanation": "trust me"})
    for name, value in {
        "{canary}": str(place / "canary"),
        "{root}": str(place / "workspace"),
        "{5 MiB}": "x" * (5 * 1024 * 1024),
    }.items():
        text = text.replace(name, value)
    return text


@pytest.fixture(scope="module")
def model(place: Path) -> Iterator[ScriptedModel]:
    """A model that gives the answer whose name the task's title is."""
    answers = {case["name"]: answer_of(case, place) for case in TABLE}

    def say(request: Mapping[str, Any]) -> Turn:
        title = request["messages"][1]["content"].partition("\n")[0]
        return Turn(content=answers[title.removeprefix("# Task: ")])

    with ScriptedModel(say).serving() as model:
        yield model


def snapshot(place: Path) -> dict[str, tuple[int, int, str]]:
    """Return what is there: types, modes, times, contents, and where links lead."""
    found = {}
    for folder, directories, names in os.walk(place):
        for name in [*directories, *names]:
            path = Path(folder) / name
            status = path.lstat()
            content = ""
            if path.is_symlink():
                content = str(path.readlink())
            elif path.is_file():
                content = hashlib.sha256(path.read_bytes()).hexdigest()
            found[str(path.relative_to(place))] = (status.st_mode, status.st_mtime_ns, content)
    return found


@pytest.mark.parametrize("case", TABLE, ids=[case["name"] for case in TABLE])
def test_hostile_answer_is_refused_and_nothing_is_written(
    case: dict[str, Any], place: Path, model: ScriptedModel
) -> None:
    before = snapshot(place)
    outside = {path: path.exists() for path in (Path("/tmp/keruta-pwned"), Path("/tmp/pwned"))}
    executor = TaskExecutor(config_of(model), limits=Limits(rounds=1))
    workspace = Workspace(place / "workspace", "feature/x")
    result = executor.execute(task(title=case["name"]), workspace)
    assert (result.success, result.error_type) == (False, case["error"])
    assert case["reason"] in str(result.error)
    assert (result.diff, result.files_changed) == ("", [])
    assert snapshot(place) == before
    assert {path: path.exists() for path in outside} == outside


def test_table_is_long_and_its_names_are_unique() -> None:
    assert len(TABLE) >= 40
    assert len({case["name"] for case in TABLE}) == len(TABLE)


def test_harmless_answer_in_the_same_workspace_is_written(place: Path) -> None:
    """Or the table would prove nothing."""
    root = place / "workspace"
    answer = {"file_path": "harmless.py", "operation": "create", "content": "x = 1\n"}
    with ScriptedModel([json.dumps([answer])]).serving() as model:
        executor = TaskExecutor(config_of(model), limits=Limits(rounds=1))
        assert executor.execute(task(), Workspace(root, "feature/x")).success
    (root / "harmless.py").unlink()
