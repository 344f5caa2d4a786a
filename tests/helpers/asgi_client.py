"""Calls an application in this process, without a socket, as a browser with its cookies would."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import functools
import json
import queue
import threading
from collections.abc import Callable, Iterator, Mapping
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message

PATIENCE_S = 60.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """What came back."""

    status_code: int
    headers: Headers
    content: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.content.decode()

    @property
    def content_type(self) -> str:
        """What the body is, with its parameters."""
        return self.headers.get("Content-Type", "")

    def json(self) -> Any:
        """Return the JSON value of the body."""
        return json.loads(self.content)


class Client:
    """One browser, or one program, that asks an application."""

    def __init__(self, app: ASGIApp, *, base_url: str = "http://localhost") -> None:
        self.app = app
        self.base_url = base_url
        self.cookies: dict[str, str] = {}

    def get(self, path: str, **options: Any) -> Answer:
        """Send a GET."""
        return self.request("GET", path, **options)

    def post(self, path: str, **options: Any) -> Answer:
        """Send a POST."""
        return self.request("POST", path, **options)

    @contextlib.contextmanager
    def stream(self, path: str, *, headers: Mapping[str, str] | None = None) -> Iterator[Streamed]:
        """Send a GET, and leave at the end of the block whatever is still to come."""
        asked = MutableHeaders({"Host": urlsplit(self.base_url).netloc, **(headers or {})})
        if self.cookies:
            asked["Cookie"] = "; ".join(f"{name}={text}" for name, text in self.cookies.items())
        streamed = Streamed(self.app, _scope(self.base_url, "GET", path, None, asked))
        try:
            yield streamed
        finally:
            streamed.leave()

    def request(
        self,
        method: str,
        path: str,
        *,
        headers: Mapping[str, str] | None = None,
        json: Any = None,
        data: Mapping[str, Any] | bytes | str | None = None,
        query: Mapping[str, str] | None = None,
        files: Mapping[str, tuple[str, bytes, str]] | None = None,
        content_type: str | None = None,
        on_piece: Callable[[bytes], None] | None = None,
        scope: Mapping[str, Any] | None = None,
    ) -> Answer:
        """Send a request and return its whole answer.

        Args:
            method: of HTTP.
            path: of the address, with its query; not ASCII is encoded.
            headers: beside those that follow from the rest.
            json: a value to send.
            data: the fields of a form, or the body itself.
            query: more of the query.
            files: parts of a form with a name, a content and a type each; ``data`` are its fields.
            content_type: of the body, if it is another than follows from it.
            on_piece: called with each piece of the answer, which waits for it; the answer has no
                content then.
            scope: what differs from a usual request, such as ``root_path``.
        """
        body, usual_type = _body(json, data, files)
        content_type = usual_type if content_type is None else content_type
        asked = MutableHeaders()
        asked["Host"] = urlsplit(self.base_url).netloc
        if content_type:
            asked["Content-Type"] = content_type
        if body:
            asked["Content-Length"] = str(len(body))
        if self.cookies:
            asked["Cookie"] = "; ".join(f"{name}={text}" for name, text in self.cookies.items())
        asked.update(dict(headers or {}))
        full = _scope(self.base_url, method, path, query, asked) | dict(scope or {})
        waiting = asyncio.run_coroutine_threadsafe(_ask(self.app, full, body, on_piece), _loop())
        answer = waiting.result(PATIENCE_S)
        self._remember(answer.headers)
        return answer

    def _remember(self, headers: Headers) -> None:
        for line in headers.getlist("Set-Cookie"):
            for name, morsel in SimpleCookie(line).items():
                if morsel["max-age"] == "0" or not morsel.value:
                    self.cookies.pop(name, None)
                else:
                    self.cookies[name] = morsel.value


async def _ask(
    app: ASGIApp,
    scope: dict[str, Any],
    body: bytes,
    on_piece: Callable[[bytes], None] | None,
) -> Answer:
    begun: dict[str, Any] = {}
    content = bytearray()
    messages: Iterator[Message] = iter([{"type": "http.request", "body": body, "more_body": False}])
    has_ended = asyncio.Event()

    async def receive() -> Message:
        message = next(messages, None)
        if message is None:
            await has_ended.wait()
            return {"type": "http.disconnect"}
        return message

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            begun.update(message)
        elif on_piece is None:
            content.extend(message.get("body", b""))
        elif message.get("body"):
            await asyncio.to_thread(on_piece, message["body"])

    try:
        await app(scope, receive, send)
    finally:
        has_ended.set()
    if scope["method"] == "HEAD":
        content.clear()
    return Answer(
        status_code=begun["status"],
        headers=Headers(raw=list(begun["headers"])),
        content=bytes(content),
    )


def _scope(
    base_url: str, method: str, path: str, query: Mapping[str, str] | None, headers: MutableHeaders
) -> dict[str, Any]:
    base = urlsplit(base_url)
    plain, _, asked = path.partition("?")
    asked = "&".join(part for part in (asked, urlencode(query or {})) if part)
    encoded = quote(plain, safe="/%:@!$&'()*+,;=~-._")
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": method,
        "scheme": base.scheme,
        "path": unquote(encoded),
        "raw_path": encoded.encode(),
        "root_path": "",
        "query_string": quote(asked, safe="/%:@!$&'()*+,;=~-._?").encode(),
        "headers": headers.raw,
        "client": ("127.0.0.1", 50_000),
        "server": (base.hostname, base.port or 80),
        "state": {},
    }


def _body(
    value: Any,
    data: Mapping[str, Any] | bytes | str | None,
    files: Mapping[str, tuple[str, bytes, str]] | None,
) -> tuple[bytes, str]:
    if value is not None:
        return json.dumps(value).encode(), "application/json"
    if files is not None:
        return _form(data if isinstance(data, Mapping) else {}, files)
    if isinstance(data, Mapping):
        return urlencode(data).encode(), "application/x-www-form-urlencoded"
    if isinstance(data, str):
        return data.encode(), ""
    return data or b"", ""


def _form(
    fields: Mapping[str, Any], files: Mapping[str, tuple[str, bytes, str]]
) -> tuple[bytes, str]:
    boundary = "a-boundary-of-the-test"
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{text}\r\n'.encode()
        for name, text in fields.items()
    ]
    for name, (file_name, content, kind) in files.items():
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; '
        head += f'filename="{file_name}"\r\nContent-Type: {kind}\r\n\r\n'
        parts.append(head.encode() + content + b"\r\n")
    return b"".join(parts) + f"--{boundary}--\r\n".encode(), (
        f"multipart/form-data; boundary={boundary}"
    )


class Streamed:
    """An answer whose pieces are taken one by one, as they come."""

    def __init__(self, app: ASGIApp, scope: dict[str, Any]) -> None:
        self._messages: queue.Queue[Message | None] = queue.Queue()
        self._left = asyncio.Event()
        asked = _listen(app, scope, self._messages, self._left)
        self._running = asyncio.run_coroutine_threadsafe(asked, _loop())
        begun = self._next() or {"status": 0, "headers": []}
        self.status_code: int = begun["status"]
        self.headers = Headers(raw=list(begun["headers"]))

    def __iter__(self) -> Iterator[bytes]:
        while message := self._next():
            if body := message.get("body", b""):
                yield body

    def leave(self) -> None:
        """Take nothing more; return when the application has noticed."""
        _loop().call_soon_threadsafe(self._left.set)
        self._running.result(PATIENCE_S)

    def _next(self) -> Message | None:
        return self._messages.get(timeout=PATIENCE_S)


async def _listen(
    app: ASGIApp,
    scope: dict[str, Any],
    messages: queue.Queue[Message | None],
    left: asyncio.Event,
) -> None:
    requests: Iterator[Message] = iter([{"type": "http.request", "body": b"", "more_body": False}])

    async def receive() -> Message:
        request = next(requests, None)
        if request is None:
            await left.wait()
            return {"type": "http.disconnect"}
        return request

    async def send(message: Message) -> None:
        messages.put(message)

    try:
        await app(scope, receive, send)
    finally:
        messages.put(None)


def on_loop(function: Callable[[], object]) -> None:
    """Call a function on the loop of the applications; return when it is done."""

    async def called() -> None:
        function()

    asyncio.run_coroutine_threadsafe(called(), _loop()).result(PATIENCE_S)


@functools.cache
def _loop() -> asyncio.AbstractEventLoop:
    """Return the loop of this process, in a thread of its own."""
    loop = asyncio.new_event_loop()
    threading.Thread(target=loop.run_forever, name="test-loop", daemon=True).start()
    return loop
