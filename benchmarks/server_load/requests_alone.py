"""Scenarios of requests without a team: what one costs, and how many a second there are."""

from __future__ import annotations

import asyncio
import itertools
import time
from collections.abc import Callable, Mapping

from benchmarks.agent import cpu_seconds, memory_mb
from benchmarks.server_load import world
from benchmarks.server_load.agent_requests import Requests, log_lines
from benchmarks.server_load.connection import Client
from benchmarks.server_load.figures import Figures, Tally, in_ms, percentile
from benchmarks.server_load.subject import Meter, Running

#: Requests of each kind before the measurement: code is compiled, statements are prepared.
_WARM_UP = 100
#: Sessions that requests are spread over.
_SESSIONS = 16

#: Makes the next requests of a kind, to be sent one after the other.
_Maker = Callable[[], tuple[bytes, ...]]


async def cpu(server: Running, *, number: int) -> Figures:
    """Send the requests of the hot routes one by one, and see what the server uses for each."""
    figures: Figures = {}
    client = Client(server.requests.host, server.requests.port)
    for name, make in (await _makers(server.requests)).items():
        for _ in range(min(_WARM_UP, number)):
            await _ask(client, make)
        meter, took = Meter(server), []
        for _ in range(number):
            took.append(await _ask(client, make))
        figures[f"{name} CPU ms"] = meter.server_seconds() / number * 1000
        figures[f"{name} p50 ms"] = percentile(took, 50) * 1000
    client.close()
    return figures | {"requests each": number}


async def _ask(client: Client, make: _Maker) -> float:
    begin = time.perf_counter()
    for request in make():
        answer = await client.ask(request)
        if answer.status >= 300:
            raise RuntimeError(f"the server answers {answer.status}: {answer.body[:500]!r}")
    return time.perf_counter() - begin


async def _makers(requests: Requests) -> Mapping[str, _Maker]:
    sessions = await world.create_sessions(requests, _SESSIONS)
    tasks = await world.create_running_tasks(requests, sessions)
    session, task = itertools.cycle(sessions), itertools.cycle(tasks)
    percent = itertools.cycle(range(100))
    line, many = log_lines(1), log_lines(500)

    def poll() -> tuple[bytes, ...]:
        session_id = next(session)
        return requests.session(session_id), requests.pending(session_id)

    def heartbeat() -> tuple[bytes, ...]:
        session_id = next(session)
        return (requests.heartbeat(f"agent-of-{session_id}", session_id),)

    return {
        "poll": poll,
        "session": lambda: (requests.session(next(session)),),
        "pending": lambda: (requests.pending(next(session)),),
        "heartbeat": heartbeat,
        "status": lambda: (requests.status(next(task), next(percent)),),
        "progress": lambda: (requests.progress(next(task), next(percent), "compiling"),),
        "1 log line": lambda: (requests.logs(next(task), line),),
        "500 log lines": lambda: (requests.logs(next(task), many),),
    }


async def closed(server: Running, *, connections: int, seconds: float) -> Figures:
    """Send each connection's next request when the one before is answered."""
    requests = server.requests
    sessions = await world.create_sessions(requests, connections)
    kinds: dict[str, tuple[Callable[[str], bytes], ...]] = {
        "session": (requests.session,),
        "pending": (requests.pending,),
        "mix": (requests.session, requests.pending),
    }
    figures: Figures = {}
    for name, kind in kinds.items():
        tally, meter, begin = Tally(), Meter(server), time.perf_counter()

        async def send(
            session_id: str,
            kind: tuple[Callable[[str], bytes], ...] = kind,
            tally: Tally = tally,
            end: float = begin + seconds,
        ) -> None:
            client = Client(requests.host, requests.port)
            asked = itertools.cycle([make(session_id) for make in kind])
            while time.perf_counter() < end:
                await tally.note("all", client.ask(next(asked)))
            client.close()

        await asyncio.gather(*map(send, sessions))
        took_s = time.perf_counter() - begin
        figures[f"{name} requests/s"] = tally.answered / took_s
        figures |= in_ms(name, tally.seconds["all"])
        figures[f"{name} CPU ms"] = meter.server_seconds() / max(1, tally.answered) * 1000
        used = meter.figures()
        figures |= {
            f"{name}: {each}": used[each]
            for each in ("server CPU %", "generator CPU %", "others' CPU %")
        }
        figures[f"{name} failed"] = tally.failures.total()
    return figures


async def start(server: Running, *, rest_s: float) -> Figures:
    """Ask a server that has just begun to listen, and look at its memory when it rests."""
    requests = server.requests
    client = Client(requests.host, requests.port)
    answer = await client.ask(requests.get("/api/v1/health"))
    answered_s = time.perf_counter() - server.started_at
    client.close()
    await asyncio.sleep(rest_s)
    return {
        "until listening ms": server.listening_s * 1000,
        "until answered ms": answered_s * 1000 if answer.status == 200 else float("nan"),
        "CPU of it ms": cpu_seconds(server.pid) * 1000,
        "idle RSS MB": memory_mb(server.pid),
    }
