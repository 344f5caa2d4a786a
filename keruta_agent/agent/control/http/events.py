"""Server-sent events: what jobs do and write, as it happens, with replay after a break.

A stream asks the database itself what is new to it, so that it sees what other processes do as
well. It asks again once its client has taken what was sent: one that reads slowly, or not at all,
keeps nobody waiting.
"""

from __future__ import annotations

import asyncio
import contextlib
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


@resource.stream(PATH, doc=_DOCUMENTATION)
async def stream_events(request: Request) -> Stream:
    """Stream what all jobs do and write, from now on."""
    return _stream(request, await request.app.run(_begin, request))


@resource.stream(JOB_PATH, doc=_JOB_DOCUMENTATION)
async def stream_job(request: Request, job: str) -> Stream:
    """Stream what one job does and writes, from its beginning to its end."""
    reader = await request.app.run(_begin_job, request, job)
    if reader is None:
        return Response(status_code=204)  # a browser does not reconnect after it
    return _stream(request, reader)


def _begin(request: Request) -> _Reader:
    services = services_of(request)
    newest = services.changes.newest()
    return _Reader(services, None, _asked(request, newest) or newest)


def _begin_job(request: Request, job: str) -> _Reader | None:
    """Return what reads for a new stream; None when its client has got everything."""
    services = services_of(request)
    with errors_refused():
        found = services.find_job(job)
    asked = _asked(request, services.changes.newest())
    is_over = found.state is JobState.FINISHED
    if asked is not None and is_over and not services.changes.after(asked, job_id=found.id):
        return None
    return _Reader(services, found.id, asked or Position())


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


def _stream(request: Request, reader: _Reader) -> Stream:
    watch = services_of(request).watch
    watch.listeners.check_room()
    may_listen = request.app.may_listen(request)

    async def stream(scope: Scope, receive: Receive, send: Send) -> None:
        listener = Listener(may_listen)
        with watch.joined(listener):
            async with sending(listener, receive, send) as put:
                await _send_news(reader, listener, put)

    return stream


async def _send_news(reader: _Reader, listener: Listener, put: Put) -> None:
    """Send what is new, until the end or until the listener has ended."""
    watch = reader.services.watch
    loop = asyncio.get_running_loop()
    heartbeat_due = loop.time() + HEARTBEAT_S
    while not (listener.has_ended or reader.has_ended):
        # Before the database is read: what is stored meanwhile sets it again.
        listener.ready.clear()
        news = await watch.read(listener, reader.news)
        if news:
            await put(news)
            heartbeat_due = loop.time() + HEARTBEAT_S
        elif loop.time() >= heartbeat_due:
            await put(HEARTBEAT)
            heartbeat_due = loop.time() + HEARTBEAT_S
        elif news is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout_at(heartbeat_due):
                    await listener.ready.wait()


class _Reader:
    """What one stream has got so far, and what comes next."""

    def __init__(self, services: Services, job_id: int | None, position: Position) -> None:
        self.services = services
        #: The job that it is about, None for all.
        self.job_id = job_id
        self.position = position
        #: Whether the last frame of all has been read.
        self.has_ended = False
        self._has_begun = False
        self._progress: tuple[int, int, str] | None = None

    def news(self) -> bytes:
        """Return the frames that come next; none when there is nothing new.

        What fails has not been read: the next call returns it.
        """
        if not self._has_begun:
            greeting = self._frame("connected", self._whole())
            self._has_begun = True
            return greeting
        before = (self.position, self._progress)
        try:
            is_over = self._is_over()  # asked first: the end is stored after all the rest
            frames = list(self._news())
            if is_over and not frames:
                frames.append(self._frame("end", self._whole()))
                self.has_ended = True
        except BaseException:
            self.position, self._progress = before
            raise
        return b"".join(frames)

    def _news(self) -> Iterator[bytes]:
        runs = self.services.agent.records.runs
        for change in self.services.changes.after(self.position, job_id=self.job_id):
            if change.event is not None and change.event.action == "ended":
                # Its last progress. Before the position moves: else a client that leaves right
                # behind it would never learn of the end.
                for run in runs.of_job(change.job_id):
                    if run.number == change.event.run_number:
                        yield from self._progress_of(run)
            self.position = change.moved(self.position)
            if change.event is None:
                yield from self._log(change)
            else:
                yield self._frame("job", self._event(change, change.event))
        active = runs.active()
        if active is not None and self.job_id in (None, active[0].id):
            yield from self._progress_of(active[1])

    def _progress_of(self, run: Run) -> Iterator[bytes]:
        progress = (run.id, run.progress, run.progress_message)
        if progress != self._progress:
            self._progress = progress
            body = {"job": run.job_id, "run": run.number, "percent": run.progress}
            yield self._frame("progress", {**body, "message": run.progress_message})

    def _event(self, change: Change, event: Event) -> Mapping[str, Any]:
        job = self.services.agent.records.jobs.get(change.job_id)
        if job is None:
            return {"job": change.job_id}
        now = {"state": job.state.value, "outcome": job.outcome}
        body = serialize.event_to_json(job, event) | now
        return _mapping(self.services.redactor_of(job).redact_value(body))

    def _log(self, change: Change) -> Iterator[bytes]:
        if change.piece is None or change.run_id is None:
            return
        try:
            found = self.services.logs.read(change.run_id, [change.piece])
        except FileNotFoundError:  # removed to make room
            return
        if found:
            entries = [entry_to_json(entry) for entry in found]
            body = {"job": change.job_id, "run": change.run_number, "entries": entries}
            yield self._frame("log", body)

    def _is_over(self) -> bool:
        if self.job_id is None:
            return False
        job = self.services.agent.records.jobs.get(self.job_id)
        return job is None or job.state is JobState.FINISHED

    def _whole(self) -> Mapping[str, Any]:
        """Return what the stream is about: a job, or the whole agent."""
        job = None if self.job_id is None else self.services.agent.records.jobs.get(self.job_id)
        if job is None:
            status = execute(self.services.control, Status())
            return _mapping(self.services.agent.redaction.own.redact_value(status))
        return _mapping(self.services.redactor_of(job).redact_value(serialize.job_to_json(job)))

    def _frame(self, name: str, body: Mapping[str, Any]) -> bytes:
        return frame(str(self.position), name, body)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
