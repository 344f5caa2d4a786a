"""Holds the checked-in OpenAPI documents against what the server and the daemon serve.

After a change of an API: ``python -m tests.guards.test_openapi_document`` writes them anew.
"""

from __future__ import annotations

import contextlib
import functools
import json
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from keruta_agent.http.application import Application
from keruta_agent.server.application import create_application
from keruta_agent.server.runner_services.serve import POOL, REGISTRY, STORE
from keruta_agent.server.store.store import Store
from tests.helpers.agent_http import TOKEN, agent_application
from tests.helpers.agents import agent_in
from tests.helpers.asgi_client import Client
from tests.helpers.runner_services import application_of

DOCUMENTS = Path(__file__).parents[2] / "etc" / "openapi"


@contextlib.contextmanager
def _server(directory: Path) -> Iterator[Application]:
    store = Store.open(directory)
    try:
        yield create_application(store)
    finally:
        store.close()


@contextlib.contextmanager
def _daemon(directory: Path) -> Iterator[Application]:
    with agent_in(directory) as agent, agent_application(agent) as app:
        yield app


#: Who serves each document.
APPLICATIONS: dict[str, Callable[[Path], AbstractContextManager[Application]]] = {
    "keruta-api.json": _server,
    "keruta-agent.json": _daemon,
    "task-registry.json": functools.partial(application_of, REGISTRY),
    "repo-pool.json": functools.partial(application_of, POOL),
    "artifact-store.json": functools.partial(application_of, STORE),
}


def checked_in(name: str) -> Any:
    """Return the document in the project."""
    return json.loads((DOCUMENTS / name).read_text(encoding="utf-8"))


def served(name: str, directory: Path) -> Any:
    """Return the document as it is served."""
    with APPLICATIONS[name](directory) as app, contextlib.closing(app):
        headers = {"Authorization": f"Bearer {TOKEN}"}
        return Client(app).get("/openapi.json", headers=headers).json()


@pytest.mark.parametrize("name", APPLICATIONS)
def test_checked_in_openapi_document_is_what_is_served(name: str, tmp_path: Path) -> None:
    assert checked_in(name) == served(name, tmp_path), (
        "the API changed: run python -m tests.guards.test_openapi_document"
    )


@pytest.mark.parametrize("name", APPLICATIONS)
def test_openapi_document_names_every_route(name: str, tmp_path: Path) -> None:
    with APPLICATIONS[name](tmp_path) as app, contextlib.closing(app):
        routes = {
            (route.path, route.method.lower())
            for route in app.routes
            if route.documentation is not None
        }
    described = {
        (path, method)
        for path, methods in checked_in(name)["paths"].items()
        for method in methods
        if method != "parameters"
    }
    assert routes == described


if __name__ == "__main__":
    DOCUMENTS.mkdir(exist_ok=True)
    for document in APPLICATIONS:
        with tempfile.TemporaryDirectory() as place:
            text = json.dumps(served(document, Path(place)), indent=2, ensure_ascii=False)
        (DOCUMENTS / document).write_text(text + "\n", encoding="utf-8")
