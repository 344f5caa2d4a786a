"""The list of PENDING tasks: what is read quickly is what the schema reads."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from keruta_agent.agent.api import parsing, pending
from keruta_agent.core import errors, model
from keruta_agent.core.model import Task, TaskStatus

TEXT = st.sampled_from(["a", "", "日本語", "\ud800", " b ", 7, 1.5, True, None, ["x"], {}])
FIELDS = {
    "id": TEXT,
    "sessionId": TEXT,
    "parentTaskId": TEXT,
    "name": TEXT,
    "title": TEXT,
    "description": TEXT,
    "script": TEXT,
    "claimedBy": TEXT,
    "status": st.sampled_from(["PENDING", "pending", "TODO", "COMPLETED", "DANCING", "", None, 3]),
    "priority": st.sampled_from([0, 5, -5, "5", 1.0, True, None, "high", []]),
    "parameters": st.sampled_from([{}, {"timeout": 3}, None, [], "x"]),
    "createdAt": st.sampled_from(["2026-01-01T00:00:01Z", [2026, 1, 1], 1767225602.0, "?", None]),
    "other": TEXT,
}
USUAL = {
    "id": st.uuids().map(str),
    "status": st.just("PENDING"),
    "name": st.text(min_size=1),
    "script": st.text(),
    "priority": st.integers(-3, 3),
}
ELEMENTS = st.one_of(
    st.fixed_dictionaries({}, optional=FIELDS),
    st.fixed_dictionaries(USUAL, optional={"createdAt": FIELDS["createdAt"], "claimedBy": TEXT}),
    st.sampled_from([None, 1, "text", [], [{}]]),
)


def answer(body: str | bytes) -> requests.Response:
    response = requests.Response()
    response.status_code = 200
    response._content = body if isinstance(body, bytes) else body.encode()
    return response


def what_becomes_a_job(task: Task) -> tuple[Any, ...]:
    texts = (task.session_id, task.parent_task_id, task.name, task.description, task.script)
    order = (task.priority, task.created_at, task.claimed_by)
    return task.id, texts, order, task.status, json.dumps(task.parameters)


@given(elements=st.lists(ELEMENTS, max_size=6), enveloped=st.booleans(), indent=st.booleans())
def test_tasks_are_those_that_the_schema_reads_in_their_order(elements, enveloped, indent):
    logging.disable(logging.WARNING)
    body = json.dumps({"data": elements} if enveloped else elements, indent=2 if indent else None)
    tasks = parsing.tasks_of(answer(body), "Reading")
    expected = model.in_execution_order([t for t in tasks if t.status is TaskStatus.PENDING])
    listed = pending.pending_of([answer(body)], "Reading")
    assert list(map(what_becomes_a_job, listed)) == list(map(what_becomes_a_job, expected))
    if len(tasks) == len(elements):  # of one that cannot be read, a brief may be read all the same
        assert [(each.id, each.priority, each.claimed_by) for each in reversed(listed.briefs)] == [
            (task.id, task.priority, task.claimed_by)
            for task in reversed(tasks)
            if task.status is TaskStatus.PENDING
        ]
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize(
    "body", ["[", "[{}", "[{},", "[{},]", "[{}] x", "{}", "nonsense", "", "[[["]
)
def test_what_is_no_list_is_a_failure_as_before(body):
    with pytest.raises(errors.ApiFailed):
        parsing.tasks_of(answer(body), "Reading")
    with pytest.raises(errors.ApiFailed):
        pending.pending_of([answer(body)], "Reading")


def test_list_nested_too_deeply_is_a_failure():
    with pytest.raises(errors.ApiFailed, match="not JSON"):
        pending.pending_of([answer("[" * 100_000)], "Reading")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_list_in_another_encoding_is_read(encoding):
    body = json.dumps([{"id": "日本語", "status": "PENDING"}], ensure_ascii=False).encode(encoding)
    assert [task.id for task in pending.pending_of([answer(body)], "Reading")] == ["日本語"]


def test_only_tasks_that_are_wanted_are_read_whole(monkeypatch):
    read: list[str] = []
    whole = pending._task_of
    monkeypatch.setattr(pending, "_task_of", lambda one: read.append(one["id"]) or whole(one))
    body = json.dumps([{"id": str(n), "name": "n", "status": "PENDING"} for n in range(50)])
    listed = pending.pending_of([answer(body)], "Reading")
    assert len(listed.briefs) == 50
    wanted = listed.read({"7", "9", "no such task"})
    assert next(wanted).id == "9", "the list names the newest first"
    assert read == ["9"]
    assert [task.id for task in wanted] == ["7"]
