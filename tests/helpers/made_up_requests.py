"""Requests that are made up from an OpenAPI document, and what every answer to them must be."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import hypothesis
from hypothesis import strategies
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi import checks

DOCUMENTS = Path(__file__).parents[2] / "etc" / "openapi"

#: Examples of other properties to one of an operation: 3 usually, 62 in a long look.
_FRACTION = 8
_CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]


def operations(
    document: str, *, is_stream: Callable[[str], bool] = lambda path: False
) -> list[tuple[str, str, GenerationMode]]:
    """Return method, path and mode of what a document describes; streams never end."""
    paths = json.loads((DOCUMENTS / document).read_text(encoding="utf-8"))["paths"]
    return [
        (method, path, mode)
        for path, methods in paths.items()
        for method, operation in methods.items()
        if method != "parameters" and not is_stream(path)
        for mode in _modes(operation)
    ]


def _modes(operation: Mapping[str, Any]) -> list[GenerationMode]:
    """Nothing can be wrong about a request that has neither body nor query."""
    if "requestBody" in operation or "parameters" in operation:
        return [GenerationMode.POSITIVE, GenerationMode.NEGATIVE]
    return [GenerationMode.POSITIVE]


def check_answers(
    requests: Any, known: Mapping[str, str], headers: Mapping[str, str] | None = None
) -> None:
    """Send some requests and look at the answers.

    Args:
        requests: the strategy of an operation.
        known: parameters of the path that lead to something.
        headers: sent with each.

    Raises:
        Exception: an answer is a server error, or not as documented.
    """

    # A fraction of the profile's, for the whole suite's time: operations and modes are many.
    @hypothesis.settings(
        max_examples=max(1, hypothesis.settings.default.max_examples // _FRACTION),
        deadline=None,
        database=None,
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    @hypothesis.given(strategies.data())
    def check(data: strategies.DataObject) -> None:
        case = data.draw(requests)
        # Made-up ids lead nowhere, so half of the requests go to things that exist.
        if case.path_parameters and data.draw(strategies.booleans()):
            shared = known.keys() & case.path_parameters.keys()
            case.path_parameters.update({name: known[name] for name in shared})
        case.validate_response(case.call(headers=headers), checks=_CHECKS)

    check()
