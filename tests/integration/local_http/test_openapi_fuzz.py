"""Requests made up from the OpenAPI document find no server error, and answers as documented."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import schemathesis
from hypothesis import strategies
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks as openapi_checks

from keruta_agent.journey.agent import Agent
from keruta_agent.records.jobs import Work
from tests.helpers.agent_http import TOKEN, agent_application
from tests.helpers.agents import agent_in

_DOCUMENT = Path(__file__).parents[3] / "etc" / "openapi" / "keruta-agent.json"
_HEADERS = {"Authorization": f"Bearer {TOKEN}"}

CHECKS = [
    not_a_server_error,
    openapi_checks.status_code_conformance,
    openapi_checks.content_type_conformance,
    openapi_checks.response_schema_conformance,
]
RIGHT = schemathesis.GenerationMode.POSITIVE
WRONG = schemathesis.GenerationMode.NEGATIVE


def _operations() -> Iterator[tuple[str, str, schemathesis.GenerationMode]]:
    paths = json.loads(_DOCUMENT.read_text(encoding="utf-8"))["paths"]
    for path, methods in paths.items():
        for method, operation in methods.items():
            # Streams never end, so they are left out.
            if method == "parameters" or path.endswith("/events"):
                continue
            yield method, path, RIGHT
            # Nothing can be wrong about a request that has neither body nor query.
            if "requestBody" in operation or "parameters" in operation:
                yield method, path, WRONG


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Agent, Any]]:
    with agent_in(tmp_path_factory.mktemp("fuzzed")) as agent:
        app = agent_application(agent)
        schema = schemathesis.openapi.from_wsgi("/openapi.json", app, headers=_HEADERS)
        yield agent, schema


@pytest.mark.parametrize(("method", "path", "mode"), list(_operations()))
def test_made_up_request_is_answered_as_documented(
    fuzzed: tuple[Agent, Any], method: str, path: str, mode: schemathesis.GenerationMode
) -> None:
    agent, schema = fuzzed
    requests = schema[path][method].as_strategy(generation_mode=mode)
    known = str(agent.jobs.record_script("known", Work(script="true")))

    # The bound is for the whole suite's time; more examples found nothing more.
    @hypothesis.settings(
        max_examples=6,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(strategies.data())
    def check(data: strategies.DataObject) -> None:
        case = data.draw(requests)
        # Made-up ids lead nowhere, so half of the requests go to a job that exists.
        if case.path_parameters and data.draw(strategies.booleans()):
            case.path_parameters.update(dict.fromkeys(case.path_parameters, known))
        case.validate_response(case.call(headers=_HEADERS), checks=CHECKS)

    check()
