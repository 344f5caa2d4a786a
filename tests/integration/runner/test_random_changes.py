"""Changes and answers that nobody has thought of."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keruta_agent.core import errors
from keruta_agent.core.coding.model import CodeChange
from keruta_agent.runner.changes import edits
from keruta_agent.runner.changes.permission import PermissionValidator
from keruta_agent.runner.changes.tree import Tree
from keruta_agent.runner.model.answer import OPERATIONS, AnswerError, parse
from tests.helpers.model_server import repository

PARTS = st.one_of(
    st.sampled_from(
        [
            *("..", ".", "", ".git", ".GIT", "git~1", "out", "in", "src", "a.py", "hooks", "~"),
            *("config", "precious.txt", "日本", ".git.", "\u200d.git", "a\\b", "-x", "HEAD"),
        ]
    ),
    st.text(max_size=6),
)
PATHS = st.lists(PARTS, min_size=1, max_size=5).map("/".join)
CHANGES = st.builds(CodeChange, PATHS, st.sampled_from(OPERATIONS), st.text(max_size=20))
FRAGMENTS = st.sampled_from(
    [
        *('{"code_changes":', "[", "]", "{", "}", "```json\n", "```\n", '"file_path":"a",', ","),
        *('"operation":"create",', '"content":"x"', "<think>", "</think>", "null", "1e999", "\\"),
    ]
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("place")
    (place / "canary").mkdir()
    (place / "canary" / "precious.txt").write_text("precious\n")
    repository(place / "root", src__a_py="x = 1\n")
    (place / "root" / "out").symlink_to("../canary")
    (place / "root" / "in").symlink_to("src")
    return place


def outside(place: Path) -> dict[str, bytes]:
    """Return what must stay as it is: all but the work tree."""
    return {
        str(path): path.read_bytes()
        for below in (place / "canary", place / "root" / ".git")
        for path in below.rglob("*")
        if path.is_file()
    }


@given(st.lists(CHANGES, min_size=1, max_size=3))
def test_no_change_reaches_what_is_outside(place: Path, changes: list[CodeChange]) -> None:
    root = place / "root"
    before = outside(place)
    tree = Tree(root)
    with contextlib.suppress(errors.SecurityError, edits.EditError):
        edits.apply(edits.plan(changes, tree, PermissionValidator(root)), tree)
    assert outside(place) == before
    assert {path.name for path in place.iterdir()} == {"canary", "root"}
    assert not list(root.rglob(".keruta-*"))


@given(st.one_of(st.text(), st.lists(FRAGMENTS, max_size=14).map("".join)))
def test_any_text_is_an_answer_or_is_explained(text: str) -> None:
    with contextlib.suppress(AnswerError):
        for change in parse(text).changes:
            assert change.operation in OPERATIONS
