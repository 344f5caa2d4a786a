"""Requests made up from the OpenAPI document find no server error, and answers as documented."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis

from keruta_agent.agent.journey.agent import Agent
from keruta_agent.agent.store.jobs import Work
from tests.helpers.agent_http import TOKEN, agent_application
from tests.helpers.agents import agent_in
from tests.helpers.made_up_requests import check_answers, operations

_HEADERS = {"Authorization": f"Bearer {TOKEN}", "Host": "localhost"}


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Agent, Any]]:
    directory = tmp_path_factory.mktemp("fuzzed")
    with agent_in(directory) as agent, agent_application(agent) as app:
        yield agent, schemathesis.openapi.from_asgi("/openapi.json", app, headers=_HEADERS)


@pytest.mark.parametrize(
    ("method", "path", "mode"),
    operations("keruta-agent.json", is_stream=lambda path: path.endswith("/events")),
)
def test_made_up_request_is_answered_as_documented(
    fuzzed: tuple[Agent, Any], method: str, path: str, mode: schemathesis.GenerationMode
) -> None:
    agent, schema = fuzzed
    job = str(agent.records.jobs.record_script("known", Work(script="true")))
    requests = schema[path][method].as_strategy(generation_mode=mode)
    check_answers(requests, {"job": job, "task": job}, _HEADERS)
