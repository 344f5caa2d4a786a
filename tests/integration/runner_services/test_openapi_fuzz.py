"""Requests made up from the OpenAPI documents find no server error, and answers as documented."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis

from keruta_agent.server.runner_services.serve import POOL, REGISTRY, STORE
from tests.helpers.made_up_requests import check_answers, operations
from tests.helpers.runner_services import application_of

_DOCUMENTS = {REGISTRY: "task-registry.json", POOL: "repo-pool.json", STORE: "artifact-store.json"}
_KNOWN = dict.fromkeys(("task_id", "slot_id", "artifact_id"), "known")


@pytest.fixture(scope="module")
def schemas(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Any]]:
    with contextlib.ExitStack() as opened:
        yield {
            service: schemathesis.openapi.from_asgi(
                "/openapi.json",
                opened.enter_context(application_of(service, tmp_path_factory.mktemp("fuzzed"))),
            )
            for service in _DOCUMENTS
        }


@pytest.mark.parametrize(
    ("service", "method", "path", "mode"),
    [(service, *found) for service, name in _DOCUMENTS.items() for found in operations(name)],
)
def test_made_up_request_is_answered_as_documented(
    schemas: dict[str, Any],
    service: str,
    method: str,
    path: str,
    mode: schemathesis.GenerationMode,
) -> None:
    check_answers(schemas[service][path][method].as_strategy(generation_mode=mode), _KNOWN)
