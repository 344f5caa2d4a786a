"""Requests made up from the OpenAPI document find no server error, and answers as documented."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis

from keruta_agent.server.application import create_application
from keruta_agent.server.resources.events import PATH as STREAM_PATH
from keruta_agent.server.store.store import Store
from tests.helpers.api_caller import ApiCaller
from tests.helpers.databases import url_of
from tests.helpers.made_up_requests import check_answers, operations


@pytest.fixture(scope="module")
def fuzzed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ApiCaller, Any]]:
    directory = tmp_path_factory.mktemp("fuzzed")
    store = Store.open(directory, url_of(directory))
    app = create_application(store)
    yield ApiCaller(app), schemathesis.openapi.from_asgi("/openapi.json", app)
    store.close()


@pytest.mark.parametrize(
    ("method", "path", "mode"), operations("keruta-api.json", is_stream=STREAM_PATH.__eq__)
)
def test_made_up_request_is_answered_as_documented(
    fuzzed: tuple[ApiCaller, Any], method: str, path: str, mode: schemathesis.GenerationMode
) -> None:
    api, schema = fuzzed
    task = api.task()
    requests = schema[path][method].as_strategy(generation_mode=mode)
    check_answers(requests, {"task_id": task["id"], "session_id": task["sessionId"]})
