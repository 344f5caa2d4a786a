"""Answers of the hot routes are made by plain functions; the schemas that document them agree."""

from __future__ import annotations

from typing import Any

import pytest

from keruta_agent.core.model import AgentRole, TaskStatus
from keruta_agent.server.resources import agents, claims
from keruta_agent.server.schemas import SessionAnswer, TaskAnswer
from keruta_agent.server.store import session_rows, task_rows
from keruta_agent.server.store import tables as t

_MOMENTS = (1_790_000_000_000_000, 1_790_000_000_123_456)


def _row(table: str, **values: Any) -> dict[str, Any]:
    dates = {name: _MOMENTS[len(name) % 2] for name in t.COLUMNS[table] if name.endswith("_at")}
    return dict.fromkeys(t.COLUMNS[table]) | dates | values


def _dates(row: dict[str, Any]) -> dict[str, Any]:
    return {
        name: t.from_microseconds(value) if name.endswith("_at") else value
        for name, value in row.items()
    }


@pytest.mark.parametrize("status", TaskStatus)
@pytest.mark.parametrize("parent", [None, "parent"])
def test_task_is_answered_as_its_schema_says(status: TaskStatus, parent: str | None) -> None:
    row = _row(
        "tasks",
        id="t",
        session_id="s",
        parent_task_id=parent,
        name="\u540d",
        description="d",
        script="true",
        status=status.value,
        message="m",
        progress=3,
        error_code="E",
        priority=-1,
        parameters='{"a":[1,{"b":null}]}',
        claimed_by=parent,
    )
    entity = _dates(row) | vars(task_rows.to_task(row))
    assert task_rows.to_answer(row) == TaskAnswer().dump(entity)


@pytest.mark.parametrize("template", [None, '{"repositoryUrl":"u"}'])
def test_session_is_answered_as_its_schema_says(template: str | None) -> None:
    row = _row(
        "sessions",
        id="s",
        name="n",
        description="",
        status="ACTIVE",
        tags='["a","b"]',
        template_config=template,
        pinned=1,
    )
    entity = _dates(row) | vars(session_rows.to_session(row))
    assert session_rows.to_answer(row) == SessionAnswer().dump(entity)


@pytest.mark.parametrize("alive", [True, False])
def test_agent_is_answered_as_its_schema_says(alive: bool) -> None:
    values = {"id": "a", "session_id": "s", "host": "h", "version": "1", "lease": 60}
    row = _row("agents", role=AgentRole.STANDBY.value, **values)
    now = row["seen_at"] + (0 if alive else 61_000_000)
    entity = _dates(row) | {"lease_s": 60, "alive": alive}
    assert agents.to_answer(row, now) == agents.AgentAnswer().dump(entity)


def test_claim_is_answered_as_its_schema_says() -> None:
    row = _row("tasks", id="t", claimed_by="a", claimed_run="r")
    entity = {
        "task_id": "t",
        "agent": "a",
        "run": "r",
        "claimed_at": t.from_microseconds(row["claimed_at"]),
    }
    assert claims.to_answer(row) == claims.ClaimAnswer().dump(entity)
