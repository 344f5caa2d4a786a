"""Server-sent events: what jobs do and write, as it happens, with replay after a break.

What is new to a stream is read from the database, so that it sees what other processes do as well,
and only once its client has taken what was sent before: one that reads slowly, or not at all, keeps
nobody waiting.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any, Final

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from keruta_agent.agent.control import serialize
from keruta_agent.agent.control.commands import Status
from keruta_agent.agent.control.http.logs import entry_to_json
from keruta_agent.agent.control.http.routes import Resource, errors_refused, services_of
from keruta_agent.agent.control.http.services import Services
from keruta_agent.agent.control.table import execute
from keruta_agent.agent.store.changes import Change, Position
from keruta_agent.agent.store.jobs import JobState
from keruta_agent.agent.store.journal import Event
from keruta_agent.agent.store.run import Run
from keruta_agent.http.events import (
    HEARTBEAT,
    Listener,
    Put,
    Stream,
    asked_position,
    frame,
    sending,
)
from keruta_agent.http.problems import invalid
from keruta_agent.http.request import Request

resource = Resource("events", "What happens, as it happens")

PATH: Final = "/api/v1/events"
JOB_PATH: Final = "/api/v1/jobs/{job}/events"

HEARTBEAT_S: Final = 15.0

_TEXT: Final = {"type": "string"}
_WHAT: Final = (
    "`job` reports what happened to a job, `progress` how far it is, `log` what it wrote; each"
    " has an id, and those after `Last-Event-ID` are sent again."
)
_DOCUMENTATION: Final[dict[str, Any]] = {
    "description": _WHAT,
    "parameters": [
        {
            "in": "query",
            "name": "lastEventId",
            "schema": _TEXT,
            "description": "`0`: from the start.",
        },
        {"in": "header", "name": "Last-Event-ID", "schema": _TEXT},
    ],
    "responses": {
        "200": {"description": "OK", "content": {"text/event-stream": {"schema": _TEXT}}},
    },
}
_JOB_DOCUMENTATION: Final = _DOCUMENTATION | {
    "description": f"{_WHAT} `end` is the last one; a client that reconnects after it gets 204.",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Place:
    """How far a stream has come."""

    #: The job that it is about, None for all.
    job_id: int | None
    position: Position
    #: Run, percent and message of the progress that was sent last.
    progress: tuple[int, int, str] | None = None
    has_begun: bool = False
    has_ended: bool = False


@resource.stream(PATH, doc=_DOCUMENTATION)
async def stream_events(request: Request) -> Stream:
    """Stream what all jobs do and write, from now on."""
    return _stream(request, await request.app.run(_begin, request))


@resource.stream(JOB_PATH, doc=_JOB_DOCUMENTATION)
async def stream_job(request: Request, job: str) -> Stream:
    """Stream what one job does and writes, from its beginning to its end."""
    place = await request.app.run(_begin_job, request, job)
    if place is None:
        return Response(status_code=204)  # a browser does not reconnect after it
    return _stream(request, place)


def _begin(request: Request) -> _Place:
    newest = services_of(request).changes.newest()
    return _Place(job_id=None, position=_asked(request, newest) or newest)


def _begin_job(request: Request, job: str) -> _Place | None:
    """Return where a new stream begins; None when its client has got everything."""
    services = services_of(request)
    with errors_refused():
        found = services.find_job(job)
    asked = _asked(request, services.changes.newest())
    is_over = found.state is JobState.FINISHED
    if asked is not None and is_over and not services.changes.after(asked, job_id=found.id):
        return None
    return _Place(job_id=found.id, position=asked or Position())


def _asked(request: Request, newest: Position) -> Position | None:
    """Return the position that was asked for; one that is yet to come counts as the newest.

    Such a one was given out over an older copy of the database.
    """
    text = asked_position(request.headers, request.query_params)
    if text is None:
        return None
    try:
        position = Position.parse(text)
    except ValueError as exc:
        raise invalid("lastEventId", str(exc)) from exc
    return position.bounded(newest)


def _stream(request: Request, place: _Place) -> Stream:
    services = services_of(request)
    services.watch.listeners.check_room()
    may_listen = request.app.may_listen(request)

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        listener = Listener(may_listen)
        with services.watch.joined(listener):
            async with sending(listener, receive, send) as put:
                await _send_news(services, place, listener, put)

    return stream


async def _send_news(services: Services, place: _Place, listener: Listener, put: Put) -> None:
    """Send what is new, until the end or until the listener has ended."""
    loop = asyncio.get_running_loop()
    heartbeat_due = loop.time() + HEARTBEAT_S
    while not (listener.has_ended or place.has_ended):
        # Before the database is read: what is stored meanwhile sets it again.
        listener.ready.clear()
        reader = _Reader(services, place)
        # What a stream begins with also tells what no database holds.
        shared = place if place.has_begun else None
        news = await services.watch.read(listener, shared, reader.read)
        frames, place = news or (b"", place)
        if frames:
            await put(frames)
            heartbeat_due = loop.time() + HEARTBEAT_S
        elif loop.time() >= heartbeat_due:
            await put(HEARTBEAT)
            heartbeat_due = loop.time() + HEARTBEAT_S
        elif news is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(heartbeat_due):
                    await listener.ready.wait()


class _Reader:
    """What comes next after a place."""

    def __init__(self, services: Services, place: _Place) -> None:
        self._services = services
        self._place = place
        self._job_id = place.job_id
        #: Both move on with each frame.
        self._position = place.position
        self._progress = place.progress

    def read(self) -> tuple[bytes, _Place]:
        """Return the next frames, none when there is nothing new, and the place behind them."""
        if not self._place.has_begun:
            begun = dataclasses.replace(self._place, has_begun=True)
            return self._frame("connected", self._whole()), begun
        is_over = self._is_over()  # asked first: the end is stored after all the rest
        frames = list(self._news())
        has_ended = is_over and not frames
        if has_ended:
            frames.append(self._frame("end", self._whole()))
        place = dataclasses.replace(
            self._place,
            position=self._position,
            progress=self._progress,
            has_ended=has_ended,
        )
        return b"".join(frames), place

    def _news(self) -> Iterator[bytes]:
        runs = self._services.agent.records.runs
        for change in self._services.changes.after(self._position, job_id=self._job_id):
            if change.event is not None and change.event.action == "ended":
                # Its last progress. Before the position moves: else a client that leaves right
                # behind it would never learn of the end.
                for run in runs.of_job(change.job_id):
                    if run.number == change.event.run_number:
                        yield from self._progress_of(run)
            self._position = change.moved(self._position)
            if change.event is None:
                yield from self._log(change)
            else:
                yield self._frame("job", self._event(change, change.event))
        active = runs.active()
        if active is not None and self._job_id in (None, active[0].id):
            yield from self._progress_of(active[1])

    def _progress_of(self, run: Run) -> Iterator[bytes]:
        progress = (run.id, run.progress, run.progress_message)
        if progress != self._progress:
            self._progress = progress
            body = {"job": run.job_id, "run": run.number, "percent": run.progress}
            yield self._frame("progress", {**body, "message": run.progress_message})

    def _event(self, change: Change, event: Event) -> Mapping[str, Any]:
        job = self._services.agent.records.jobs.get(change.job_id)
        if job is None:
            return {"job": change.job_id}
        now = {"state": job.state.value, "outcome": job.outcome}
        body = serialize.event_to_json(job, event) | now
        return _mapping(self._services.redactor_of(job).redact_value(body))

    def _log(self, change: Change) -> Iterator[bytes]:
        if change.piece is None or change.run_id is None:
            return
        try:
            found = self._services.logs.read(change.run_id, [change.piece])
        except FileNotFoundError:  # removed to make room
            return
        if found:
            entries = [entry_to_json(entry) for entry in found]
            body = {"job": change.job_id, "run": change.run_number, "entries": entries}
            yield self._frame("log", body)

    def _is_over(self) -> bool:
        if self._job_id is None:
            return False
        job = self._services.agent.records.jobs.get(self._job_id)
        return job is None or job.state is JobState.FINISHED

    def _whole(self) -> Mapping[str, Any]:
        """Return what the stream is about: a job, or the whole agent."""
        job = None if self._job_id is None else self._services.agent.records.jobs.get(self._job_id)
        if job is None:
            status = execute(self._services.control, Status())
            return _mapping(self._services.agent.redaction.own.redact_value(status))
        return _mapping(self._services.redactor_of(job).redact_value(serialize.job_to_json(job)))

    def _frame(self, name: str, body: Mapping[str, Any]) -> bytes:
        return frame(str(self._position), name, body)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
