"""Starts the services around the Agent Runner inside the test process, on free ports."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from keruta_agent.http.application import Application
from keruta_agent.runner import ArtifactStoreClient, RepoPoolClient, TaskRegistryClient
from keruta_agent.server.runner_services import serve
from keruta_agent.server.runner_services.serve import (
    POOL,
    REGISTRY,
    STORE,
    Options,
    RunnerServices,
)
from tests.helpers.databases import url_of


class Around:
    """Running services, with a client of each."""

    def __init__(self, services: RunnerServices, token: str | None) -> None:
        self.services = services
        self.urls = services.urls
        self.registry = TaskRegistryClient(services.urls[REGISTRY], api_key=token)
        self.pool = RepoPoolClient(services.urls[POOL], api_key=token)
        self.store = ArtifactStoreClient(services.urls[STORE], api_key=token)

    def close(self) -> None:
        """Close the clients' connections."""
        for client in (self.registry, self.pool, self.store):
            client.close()


@contextlib.contextmanager
def runner_services(data_dir: Path, **options: Any) -> Iterator[Around]:
    """Serve ``data_dir`` for the length of the block."""
    usual = {
        **dict.fromkeys(("registry_port", "pool_port", "store_port"), 0),
        "database_url": url_of(data_dir),
    }
    services = RunnerServices(data_dir, Options(**{**usual, **options}))
    services.start()
    around = Around(services, options.get("token"))
    try:
        yield around
    finally:
        around.close()
        services.stop()


@contextlib.contextmanager
def application_of(name: str, directory: Path) -> Iterator[Application]:
    """Yield the application of one service, without a socket."""
    options = Options(database_url=url_of(directory))
    with serve.open_services(directory, options) as services:
        app = serve.application_of(name, services, options)
        try:
            yield app
        finally:
            app.close()
