"""Server-sent events of a session: a wake-up for the poll, never the truth.

The parser is the one of the HTML standard; servers differ in the space after the colon. Ids are
not kept: nothing needs to be heard twice.
"""

from __future__ import annotations

import codecs
import contextlib
import json
import logging
import threading
from collections.abc import Iterator, Mapping
from typing import Any

import requests
import urllib3.exceptions

from keruta_agent.core import errors
from keruta_agent.core.model import ServerEvent
from keruta_agent.http.client.http import HttpClient

logger = logging.getLogger(__name__)

PATH = "/api/v1/sessions/realtime/events"

#: A stream that is silent for this long is given up, because a connection that died without a
#: word looks the same. Servers without heartbeats are thus asked again about once a minute.
SILENCE_S = 60.0

_READ_SIZE = 64 * 1024  # bytes
#: Only bounds how long the watching thread outlives its stream.
_WATCH_TICK_S = 0.5


class EventParser:
    """The parser of an event stream, however its bytes are cut."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8-sig")(errors="replace")
        self._text = ""
        self._name = ""
        self._data: list[str] = []

    def feed(self, block: bytes) -> Iterator[ServerEvent]:
        """Yield the events that are complete after these bytes."""
        self._text += self._decoder.decode(block)
        # A carriage return at the end may be half of a line end.
        held = "\r" if self._text.endswith("\r") else ""
        text = self._text.removesuffix(held).replace("\r\n", "\n").replace("\r", "\n")
        *lines, rest = text.split("\n")
        self._text = rest + held
        for line in lines:
            event = self._take(line)
            if event is not None:
                yield event

    def _take(self, line: str) -> ServerEvent | None:
        if not line:
            return self._dispatch()
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if field == "event":
            self._name = value
        elif field == "data":
            self._data.append(value)
        return None

    def _dispatch(self) -> ServerEvent | None:
        name, data = self._name or "message", self._data
        self._name, self._data = "", []
        if not data:
            return None
        return ServerEvent(name=name, data=_content("\n".join(data)))


def _content(data: str) -> Mapping[str, Any]:
    try:
        parsed = json.loads(data)
    except ValueError:
        return {"text": data}
    return parsed if isinstance(parsed, dict) else {"text": data}


@contextlib.contextmanager
def stream(
    http: HttpClient, session_id: str, stop: threading.Event
) -> Iterator[Iterator[ServerEvent]]:
    """Open the stream and gives its events, which end when ``stop`` is set.

    Raises:
        ApiUnsupported: the server answers something else than a stream.
        ApiError: the server does not open it.
    """
    with http.stream(
        "Listening to the server's events",
        PATH,
        params={"sessionId": session_id},
        headers={"Accept": "text/event-stream", "Accept-Encoding": "identity"},
        silence_s=SILENCE_S,
    ) as response:
        if "text/event-stream" not in response.headers.get("Content-Type", ""):
            raise errors.ApiUnsupported("The server answers no stream of events")
        yield _events(response, stop, EventParser())


def _events(
    response: requests.Response, stop: threading.Event, parser: EventParser
) -> Iterator[ServerEvent]:
    ended = threading.Event()
    watcher = threading.Thread(
        target=_interrupt, args=(response, stop, ended), name="events-stop", daemon=True
    )
    watcher.start()
    try:
        while not stop.is_set():
            block = response.raw.read1(_READ_SIZE)
            if not block:
                return
            yield from parser.feed(block)
    except (OSError, ValueError, urllib3.exceptions.HTTPError) as exc:
        # Also what the watcher causes. The caller opens a new stream if it still wants one.
        logger.debug("the stream of events ended: %s", type(exc).__name__)
    finally:
        ended.set()


def _interrupt(response: requests.Response, stop: threading.Event, ended: threading.Event) -> None:
    """End a read that waits for the server as soon as ``stop`` is set."""
    while not stop.wait(_WATCH_TICK_S):
        if ended.is_set():
            return
    if not ended.is_set():
        # Closed meanwhile by the reading thread: then there is nothing to interrupt.
        with contextlib.suppress(OSError, ValueError, RuntimeError):
            response.raw.shutdown()
