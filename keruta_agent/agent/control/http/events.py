"""Server-sent events: what jobs do and write, as it happens, with replay after a break.

A stream asks the database itself whether anything changed, a few times a second and for
microseconds. So it sees what other processes do as well, and a client that reads slowly, or not
at all, keeps nobody waiting.
"""

from __future__ import annotations

import copy
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

import flask

from keruta_agent.agent.control import serialize
from keruta_agent.agent.control.commands import Status
from keruta_agent.agent.control.http.logs import entry_to_json
from keruta_agent.agent.control.http.routes import Resource, current_services, problem_of
from keruta_agent.agent.control.http.services import Services
from keruta_agent.agent.control.table import execute
from keruta_agent.agent.store.changes import Change, Position
from keruta_agent.agent.store.jobs import JobState
from keruta_agent.agent.store.journal import Event
from keruta_agent.agent.store.run import Run
from keruta_agent.core import errors
from keruta_agent.http.problems import invalid
from keruta_agent.http.streams import HEARTBEAT, NOTICE_S, Streams, frame

resource = Resource("events", "What happens, as it happens")

PATH: Final = "/api/v1/events"
JOB_PATH: Final = "/api/v1/jobs/<job>/events"

MOST_STREAMS: Final = 16
STREAMS_KEY: Final = "keruta-agent-streams"

HEARTBEAT_S: Final = 15.0
#: Seconds between looks whether anything changed.
LOOK_S: Final = 0.1

_TEXT: Final = {"type": "string"}
_PARAMETERS: Final = [
    {"in": "query", "name": "lastEventId", "schema": _TEXT, "description": "`0`: from the start."},
    {"in": "header", "name": "Last-Event-ID", "schema": _TEXT},
]
_RESPONSES: Final = {
    "200": {"description": "OK", "content": {"text/event-stream": {"schema": _TEXT}}},
    "default": {"$ref": "#/components/responses/DEFAULT_ERROR"},
}


def documentation() -> dict[str, dict[str, Any]]:
    """Return the streams' part of the OpenAPI document, by the name of the view."""
    what = (
        "`job` reports what happened to a job, `progress` how far it is, `log` what it wrote; each"
        " has an id, and those after `Last-Event-ID` are sent again."
    )
    common = {"tags": [resource.name], "responses": _RESPONSES}
    everything = {
        "summary": "Stream what all jobs do and write, from now on.",
        "description": what,
        "parameters": _PARAMETERS,
        **common,
    }
    one = {
        "summary": "Stream what one job does and writes, from its beginning to its end.",
        "description": f"{what} `end` is the last one; a client that reconnects after it gets 204.",
        "parameters": _PARAMETERS,
        **common,
    }
    return copy.deepcopy({"stream_events": {"get": everything}, "stream_job": {"get": one}})


@resource.plain(PATH)
def stream_events() -> flask.Response:
    """Stream what all jobs do and write."""
    services = current_services()
    newest = services.changes.newest()
    return _respond(_Stream(services, None, _asked(newest) or newest))


@resource.plain(JOB_PATH)
def stream_job(job: str) -> flask.Response:
    """Stream what one job does and writes, from its beginning."""
    services = current_services()
    try:
        found = services.find_job(job)
    except errors.KerutaError as exc:
        raise problem_of(exc) from exc
    asked = _asked(services.changes.newest())
    is_over = found.state is JobState.FINISHED
    if asked is not None and is_over and not services.changes.after(asked, job_id=found.id):
        return flask.Response(status=204)  # a browser does not reconnect after it
    return _respond(_Stream(services, found.id, asked or Position()))


def _asked(newest: Position) -> Position | None:
    """Return the position that was asked for; one that is yet to come counts as the newest.

    Such a one was given out over an older copy of the database.
    """
    arguments, headers = flask.request.args, flask.request.headers
    text = headers.get("Last-Event-ID") or arguments.get("lastEventId")
    if not text:
        return None
    try:
        position = Position.parse(text)
    except ValueError as exc:
        raise invalid("lastEventId", str(exc)) from exc
    return position.bounded(newest)


def _respond(stream: _Stream) -> flask.Response:
    streams: Streams = flask.current_app.extensions[STREAMS_KEY]
    streams.enter()
    response = streams.respond(stream.frames(streams.is_left()))
    # The stream opens its thread's connection anew, after the request proper has released it.
    response.call_on_close(stream.services.agent.records.database.close)
    return response


@dataclasses.dataclass
class _Stream:
    """The stream of one listener."""

    services: Services
    #: The job that it is about, None for all.
    job_id: int | None
    position: Position
    _progress: tuple[int, int, str] | None = None

    def frames(self, is_left: Callable[[], bool]) -> Iterator[bytes]:
        """Yield the frames to send, until the end or until the listener has left."""
        yield self._frame("connected", self._whole())
        heartbeat_due = time.monotonic() + HEARTBEAT_S
        while not self.services.stopping.is_set() and not is_left():
            version = self.services.changes.version()
            is_over = self._is_over()  # asked first: the end is stored after all the rest
            began = time.monotonic()
            sent = 0
            for data in self._news():
                sent += 1
                yield data
            if sent:
                now = time.monotonic()
                heartbeat_due = now + HEARTBEAT_S
                # A flood takes half of a core at most: the script and its follower need one too.
                self.services.stopping.wait(min(now - began, LOOK_S))
                continue
            if is_over:
                yield self._frame("end", self._whole())
                return
            if time.monotonic() >= heartbeat_due:
                yield HEARTBEAT
                heartbeat_due = time.monotonic() + HEARTBEAT_S
            self._wait(version, min(heartbeat_due, time.monotonic() + NOTICE_S))

    def _wait(self, version: int, deadline: float) -> None:
        """Wait until something changed, the deadline has come, or the API ends."""
        while time.monotonic() < deadline and self.services.changes.version() == version:
            if self.services.stopping.wait(LOOK_S):
                return

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
