"""Requests made up from the OpenAPI documents find no server error, and answers as documented."""

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

from keruta_agent.server.runner_services.serve import POOL, REGISTRY, STORE
from tests.helpers.runner_services import application_of

_DOCUMENTS = Path(__file__).parents[3] / "etc" / "openapi"
_FILES = {REGISTRY: "task-registry.json", POOL: "repo-pool.json", STORE: "artifact-store.json"}

CHECKS = [
    not_a_server_error,
    openapi_checks.status_code_conformance,
    openapi_checks.content_type_conformance,
    openapi_checks.response_schema_conformance,
]


def _operations() -> Iterator[tuple[str, str, str]]:
    for service, file in _FILES.items():
        paths = json.loads((_DOCUMENTS / file).read_text(encoding="utf-8"))["paths"]
        for path, methods in paths.items():
            for method in methods:
                if method != "parameters":
                    yield service, method, path


@pytest.fixture(scope="module")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    made = {}
    opened = []
    for service in _FILES:
        application = application_of(service, tmp_path_factory.mktemp("fuzzed"))
        opened.append(application)
        made[service] = schemathesis.openapi.from_wsgi("/openapi.json", application.__enter__())
    yield made
    for application in opened:
        application.__exit__(None, None, None)


@pytest.mark.parametrize(("service", "method", "path"), list(_operations()))
def test_made_up_request_is_answered_as_documented(
    schemas: dict[str, Any], service: str, method: str, path: str
) -> None:
    operation = schemas[service][path][method]
    modes = [schemathesis.GenerationMode.POSITIVE]
    if "requestBody" in operation.definition.raw or "parameters" in operation.definition.raw:
        modes.append(schemathesis.GenerationMode.NEGATIVE)
    requests = strategies.one_of(*[operation.as_strategy(generation_mode=mode) for mode in modes])

    # The bound is for the whole suite's time; more examples found nothing more.
    @hypothesis.settings(
        max_examples=10,
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(strategies.data())
    def check(data: strategies.DataObject) -> None:
        case = data.draw(requests)
        # Made-up ids lead nowhere, so half of the requests go to the same few.
        if case.path_parameters and data.draw(strategies.booleans()):
            case.path_parameters.update(dict.fromkeys(case.path_parameters, "known"))
        case.validate_response(case.call(), checks=CHECKS)

    check()
