"""Scenarios of a team: agents that poll, agents that write, and how soon streams hear of it."""

from __future__ import annotations

import asyncio
import dataclasses
import random
import re
import time
from collections.abc import Awaitable, Callable, Sequence

from benchmarks.server_load import world
from benchmarks.server_load.agent_requests import HEARTBEAT_S, log_lines
from benchmarks.server_load.connection import Client
from benchmarks.server_load.figures import Figures, Tally, in_ms
from benchmarks.server_load.streams import Listener, Streams, open_streams
from benchmarks.server_load.subject import Meter, Running

#: How often the generator looks whether it is late itself.
_LAG_LOOK_S = 0.02
#: How long after the last write an event is waited for.
_EVENTS_WAIT_S = 5.0
_MARK = re.compile(rb"mark (\d+) of")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Load:
    """How much of it."""

    agents: int
    #: Seconds between the rounds of each agent.
    interval_s: float
    seconds: float
    #: Log lines in one write.
    lines: int = 500
    with_streams: bool = True


async def poll(server: Running, load: Load) -> Figures:
    """Have agents poll, with a stream and heartbeats each, as idle agents do."""
    requests, tally = server.requests, Tally()
    sessions = await world.create_sessions(requests, load.agents)
    heartbeats_due = [0.0] * load.agents

    async def poll_once(number: int, client: Client, tally: Tally) -> None:
        session_id = sessions[number]
        await tally.note("session", client.ask(requests.session(session_id)))
        if time.monotonic() >= heartbeats_due[number]:
            heartbeat = requests.heartbeat(f"load-agent-{number}", session_id)
            await tally.note("heartbeat", client.ask(heartbeat))
            # The first ones are spread, as those of agents that start at any time are.
            first = random.uniform(0, HEARTBEAT_S) if not heartbeats_due[number] else HEARTBEAT_S
            heartbeats_due[number] = time.monotonic() + first
        await tally.note("pending", client.ask(requests.pending(session_id)))

    return await _run_agents(server, load, sessions, poll_once, tally)


async def write(server: Running, load: Load) -> Figures:
    """Have agents whose tasks run write log lines, a status and progress."""
    requests, tally = server.requests, Tally()
    sessions = await world.create_sessions(requests, load.agents)
    tasks = await world.create_running_tasks(requests, sessions)
    lines = log_lines(load.lines)
    rounds = [0] * load.agents

    async def write_once(number: int, client: Client, tally: Tally) -> None:
        task_id = tasks[number]
        rounds[number] = percent = (rounds[number] + 1) % 100
        await tally.note("logs", client.ask(requests.logs(task_id, lines)))
        await tally.note("status", client.ask(requests.status(task_id, percent)))
        progress = requests.progress(task_id, percent, "compiling")
        await tally.note("progress", client.ask(progress))

    return await _run_agents(server, load, sessions, write_once, tally)


_Round = Callable[[int, Client, Tally], Awaitable[None]]


async def _run_agents(
    server: Running, load: Load, sessions: Sequence[str], act: _Round, tally: Tally
) -> Figures:
    """Have each agent act once to warm up, and then at its own moments of each interval."""
    requests = server.requests
    streams = await open_streams(requests, sessions if load.with_streams else ())
    clients = [Client(requests.host, requests.port) for _ in sessions]
    await _rounds(clients, dataclasses.replace(load, seconds=load.interval_s), act, Tally())
    events, opened = streams.events, sum(client.opened for client in clients)
    meter, lags = Meter(server), _Lags()
    begun = time.monotonic()
    await _rounds(clients, load, act, tally)
    took_s = time.monotonic() - begun
    lags.stop()
    figures = tally.figures() | {
        "requests/s": tally.answered / took_s,
        "CPU ms each": meter.server_seconds() / max(1, tally.answered) * 1000,
        "connections reopened": sum(client.opened for client in clients) - opened,
        **_of_streams(streams),
        "events/s": (streams.events - events) / took_s,
        **meter.figures(),
        **lags.figures(),
    }
    streams.close()
    for client in clients:
        client.close()
    return figures


async def _rounds(clients: Sequence[Client], load: Load, act: _Round, tally: Tally) -> None:
    begin = time.monotonic()

    async def run(number: int, client: Client) -> None:
        due = begin + load.interval_s * number / len(clients)
        while due < begin + load.seconds:
            await asyncio.sleep(due - time.monotonic())
            await act(number, client, tally)
            # An agent that was answered late goes on from there, rather than at double speed.
            due = max(due + load.interval_s, time.monotonic())

    await asyncio.gather(*(run(number, client) for number, client in enumerate(clients)))


def _of_streams(streams: Streams) -> Figures:
    return {
        "streams open": streams.accepted - streams.broken,
        "streams refused": streams.refused,
        "streams broken": streams.broken,
    }


class _Lags:
    """How late the generator's own loop is: what is measured is late by as much."""

    def __init__(self) -> None:
        self._lags: list[float] = []
        self._task = asyncio.create_task(self._look())

    async def _look(self) -> None:
        while True:
            begin = time.perf_counter()
            await asyncio.sleep(_LAG_LOOK_S)
            self._lags.append(time.perf_counter() - begin - _LAG_LOOK_S)

    def stop(self) -> None:
        self._task.cancel()

    def figures(self) -> Figures:
        lags = in_ms("generator's lag", self._lags)
        del lags["generator's lag p50 ms"]
        return lags


@dataclasses.dataclass
class _Deliveries:
    """Writes under way to their streams."""

    #: When each mark was sent, and answered.
    sent_at: dict[int, float] = dataclasses.field(default_factory=dict)
    answered_at: dict[int, float] = dataclasses.field(default_factory=dict)
    heard_at: dict[int, float] = dataclasses.field(default_factory=dict)
    #: Of the log lines of each session, which come without a mark.
    lines_sent_at: dict[int, float] = dataclasses.field(default_factory=dict)
    lines_took: list[float] = dataclasses.field(default_factory=list)

    def listener(self, number: int) -> Listener:
        """Return what hears the events of one session."""

        def hear(event: bytes, now: float) -> None:
            if found := _MARK.search(event):
                self.heard_at.setdefault(int(found[1]), now)
            elif b"event: task_logs" in event:
                sent_at = self.lines_sent_at.pop(number, None)
                if sent_at is not None:
                    self.lines_took.append(now - sent_at)

        return hear

    @property
    def is_complete(self) -> bool:
        """Whether nothing is under way."""
        return len(self.heard_at) == len(self.sent_at) and not self.lines_sent_at

    def figures(self) -> Figures:
        """Return how long the events took after the writes were sent, and answered."""
        heard = self.heard_at.items()
        return {
            **in_ms("from sending", [at - self.sent_at[mark] for mark, at in heard]),
            # Below zero where the stream hears of it before the one who wrote.
            **in_ms(
                "from the answer",
                [at - self.answered_at[mark] for mark, at in heard if mark in self.answered_at],
            ),
            **in_ms("log lines, from sending", self.lines_took),
            "writes": len(self.sent_at),
            "never heard": len(self.sent_at) - len(heard) + len(self.lines_sent_at),
        }


async def delivery(server: Running, load: Load) -> Figures:
    """Write to a session at each interval, a fourth of it log lines, and await the events."""
    requests, tally, deliveries = server.requests, Tally(), _Deliveries()
    sessions = await world.create_sessions(requests, load.agents)
    tasks = await world.create_running_tasks(requests, sessions)
    listeners = [deliveries.listener(number) for number in range(load.agents)]
    streams = await open_streams(requests, sessions, listeners)
    heard = [number for number, stream in enumerate(streams.all) if stream.is_open]
    if not heard:
        raise RuntimeError("the server opens no stream")
    client, line = Client(requests.host, requests.port), log_lines(1)
    meter, lags = Meter(server), _Lags()
    due = begin = time.monotonic()
    mark = 0
    while due < begin + load.seconds:
        await asyncio.sleep(due - time.monotonic())
        number, mark = random.choice(heard), mark + 1
        if mark % 4 == 0 and number not in deliveries.lines_sent_at:
            deliveries.lines_sent_at[number] = time.perf_counter()
            await tally.note("log line", client.ask(requests.logs(tasks[number], line)))
        else:
            deliveries.sent_at[mark] = time.perf_counter()
            progress = requests.progress(tasks[number], mark % 100, f"mark {mark} of many")
            await tally.note("progress", client.ask(progress))
            deliveries.answered_at[mark] = time.perf_counter()
        due = max(due + load.interval_s, time.monotonic())
    give_up = time.monotonic() + _EVENTS_WAIT_S
    while not deliveries.is_complete and time.monotonic() < give_up:
        await asyncio.sleep(_LAG_LOOK_S)
    lags.stop()
    figures = deliveries.figures() | _of_streams(streams) | meter.figures() | lags.figures()
    streams.close()
    client.close()
    return figures | {"failed": tally.failures.total()}
