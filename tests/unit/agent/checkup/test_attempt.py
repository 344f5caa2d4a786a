"""A check that fails is a finding, and the next one is made."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from keruta_agent.agent.checkup import state
from keruta_agent.agent.checkup.finding import Finding, Level, attempt, ok
from keruta_agent.core import errors


@pytest.mark.parametrize(
    "failure",
    [
        PermissionError(13, "Permission denied", "/somewhere"),
        sqlite3.DatabaseError("malformed"),
        RuntimeError("can't start new thread"),
        errors.ApiError("odd"),
    ],
)
def test_check_that_fails_is_a_problem_with_its_reason(failure: Exception) -> None:
    def check() -> Iterator[Finding]:
        yield ok("disk", "is there")
        raise failure

    found = list(attempt("disk", check))

    assert [each.level for each in found] == [Level.OK, Level.PROBLEM]
    assert "cannot be checked" in found[1].text


def test_directory_that_nobody_may_look_into_is_no_crash(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir()

    def access(path: Path, mode: int) -> bool:  # as for a user who is not root
        return closed not in Path(path).parents and not (path == closed and mode & ~os.F_OK)

    monkeypatch.setattr(os, "access", access)
    found = state._artifacts_directory(closed / "artifacts")
    assert found.level is Level.WARNING
    assert "cannot be read and written" in found.text
