"""Sessions and tasks of a new server, made over its API as people and tools make them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from benchmarks.server_load.agent_requests import Requests
from benchmarks.server_load.connection import Client

_CLIENTS = 8


async def create_sessions(requests: Requests, number: int) -> list[str]:
    """Create sessions and return their ids."""
    drafts = [
        requests.write(
            "POST",
            "/api/v1/sessions",
            json.dumps(
                {
                    "name": f"workspace-{each:05}",
                    "repositoryUrl": "https://git.example/team/product.git",
                    "repositoryRef": "main",
                }
            ).encode(),
        )
        for each in range(number)
    ]
    return [str(session["id"]) for session in await _ask_all(requests, drafts)]


async def create_running_tasks(requests: Requests, session_ids: Sequence[str]) -> list[str]:
    """Create a task in each session that runs, and return their ids."""
    drafts = [
        requests.write(
            "POST",
            "/api/v1/tasks",
            json.dumps({"sessionId": each, "name": "build", "script": "make all"}).encode(),
        )
        for each in session_ids
    ]
    task_ids = [str(task["id"]) for task in await _ask_all(requests, drafts)]
    await _ask_all(requests, [requests.status(task_id, 0) for task_id in task_ids])
    return task_ids


async def _ask_all(requests: Requests, asked: Sequence[bytes]) -> list[Any]:
    """Send requests over a few connections and return the answers in their order.

    Raises:
        RuntimeError: one is refused.
    """
    answers: list[Any] = [None] * len(asked)
    waiting = iter(range(len(asked)))

    async def ask_some() -> None:
        client = Client(requests.host, requests.port)
        for number in waiting:
            answer = await client.ask(asked[number])
            if answer.status >= 300:
                raise RuntimeError(f"the server answers {answer.status}: {answer.body[:500]!r}")
            answers[number] = json.loads(answer.body)
        client.close()

    await asyncio.gather(*(ask_some() for _ in range(_CLIENTS)))
    return answers
