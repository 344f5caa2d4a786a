"""Start the embedded keruta API inside the test process, on a free port of the loopback."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from keruta_agent.http.proxies import Proxies
from keruta_agent.server.serve import Server
from keruta_agent.server.store.artifacts.location import ArtifactLocation
from tests.helpers.databases import url_of


@contextlib.contextmanager
def embedded_server(
    data_dir: Path,
    *,
    token: str | None = None,
    database_url: str | None = None,
    artifacts: ArtifactLocation | None = None,
    proxies: Proxies | None = None,
) -> Iterator[Server]:
    """Serve ``data_dir`` for the length of the block; ``server.url`` says where."""
    server = Server(
        data_dir,
        host="127.0.0.1",
        port=0,
        token=token,
        database_url=database_url or url_of(data_dir),
        artifacts=artifacts,
        proxies=proxies,
    )
    server.start()
    try:
        yield server
    finally:
        server.stop()
