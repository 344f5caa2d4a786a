"""Listen to the events of a running server."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

import requests

from keruta_agent.server.resources import events
from keruta_agent.server.serve import Server

#: Seconds; a stream that says nothing for so long is broken.
PATIENCE_S = 20


@contextlib.contextmanager
def event_stream(
    server: Server | str, query: str = "", **headers: str
) -> Iterator[Iterator[dict[str, Any]]]:
    """Open a stream, at a server or an address, and yield its events, heartbeats left out."""
    url = server if isinstance(server, str) else server.url
    with requests.Session() as session:
        session.trust_env = False
        with session.get(
            f"{url}{events.PATH}{query}", headers=headers, stream=True, timeout=PATIENCE_S
        ) as response:
            assert response.status_code == 200
            assert response.headers["Content-Type"].startswith("text/event-stream")
            yield _parsed(response.iter_lines(chunk_size=1, decode_unicode=True))


def _parsed(lines: Iterator[Any]) -> Iterator[dict[str, Any]]:
    event: dict[str, Any] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if line == "":
            if event:
                yield event
            event = {}
        elif name:
            event[name] = json.loads(value) if name == "data" else value
