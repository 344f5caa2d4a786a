"""The names of branches: the contract's vectors, and no two tasks with one name."""

from __future__ import annotations

import pytest

from keruta_agent.agent.workspace import branch

S = "29229ea1-8c41-4ca2-b064-7a7a7672dd1a"
T = "12345678-1234-4ca2-b064-7a7a7672dd1a"


@pytest.mark.parametrize(
    ("session", "task", "name"),
    [
        (S, T, "keruta-task-29229ea1-12345678"),
        (S, "", "keruta-session-29229ea1"),
        ("", T, "keruta-task-12345678"),
        (S.replace("-", ""), "0123456789abcdef", "keruta-task-29229ea1-01234567"),
        ("abcdefgh", "12345678", "keruta-task-abcdefgh-12345678"),
        (S.upper(), T.upper(), "keruta-task-29229EA1-12345678"),
    ],
)
def test_name_follows_the_contract(session: str, task: str, name: str) -> None:
    assert branch.name_for(session, task) == name


@pytest.mark.parametrize(
    ("session", "task", "beginning"),
    [
        ("session-123", "task-456789", "keruta-task-session-task-"),
        (S, "short", "keruta-session-29229ea1-"),
        (S, "タスク一二三四五六七", "keruta-session-29229ea1-"),
        (S, "build/the thing", "keruta-task-29229ea1-build"),
        ("", "x", "keruta-branch-"),
    ],
)
def test_name_gets_a_hash_where_shortening_loses_the_difference(
    session: str, task: str, beginning: str
) -> None:
    name = branch.name_for(session, task)
    assert name.startswith(beginning)
    assert name != branch.name_for(session, f"{task}2")
    assert branch.is_ours(name)


def test_ids_of_any_length_get_names_of_their_own() -> None:
    tasks = [
        "task-456789",
        "task-456780",
        "task-4567890",
        "short",
        "other",
        "under_score",
        "ab-cd-ef-gh",
    ]
    names = {branch.name_for("session-123", task) for task in tasks}
    assert len(names) == len(tasks)


def test_taken_name_leads_to_another_one() -> None:
    assert branch.name_for(S, T, is_taken=True).startswith("keruta-task-29229ea1-12345678-")


def test_name_holds_nothing_that_git_refuses() -> None:
    for task in ["../../../main", "a..b~^:?*[", "x" * 500, "12345678.lock", "日本語日本語日本語"]:
        name = branch.name_for(S, task)
        assert name.replace("-", "").replace("_", "").isalnum() and name.isascii()
        assert len(name) < 100
