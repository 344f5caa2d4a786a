"""A language model with canned answers: a real HTTP server that speaks OpenAI's protocol.

It streams where it is asked to, as real ones do.

For tests, and for a demonstration that needs neither key nor network.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

#: Seconds after which a handler that waits for a test to end looks whether it has.
_LOOK_S = 0.05
#: Characters that a part of a stream has at least, and about how many parts there are at most.
_PART = 40
_MOST_PARTS = 50


@dataclasses.dataclass(frozen=True, kw_only=True)
class Turn:
    """What the model does to one request."""

    content: str | None = ""
    finish_reason: str = "stop"
    usage: Mapping[str, int] | None = dataclasses.field(
        default_factory=lambda: {
            "prompt_tokens": 100,
            "completion_tokens": 20,
            "total_tokens": 120,
        }
    )
    status: int = 200
    headers: Mapping[str, str] = dataclasses.field(default_factory=dict)
    #: Sent as it is instead of a reply.
    raw: bytes | None = None
    #: Bytes after which the connection is closed.
    cut_off_after: int | None = None
    #: Seconds before it answers; a byte of nothing each tenth of one with ``trickles``.
    delay_s: float = 0.0
    trickles: bool = False
    #: Whether the answer is a stream; None as it is asked for.
    streams: bool | None = None
    #: Seconds before each part of a stream, and how the stream ends.
    part_delay_s: float = 0.0
    stream_end: str = "data: [DONE]\n\n"
    #: More of the message, such as ``tool_calls`` and ``reasoning_content``.
    message: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def changes(*items: Mapping[str, str], explanation: str = "as asked") -> str:
    """Return the text of an answer with these changes."""
    return json.dumps({"code_changes": list(items), "explanation": explanation})


def refusing(status: int, message: str, *, headers: Mapping[str, str] | None = None) -> Turn:
    """Return an error as OpenAI words it."""
    body = json.dumps({"error": {"message": message, "type": "error", "param": None, "code": None}})
    return Turn(status=status, raw=body.encode(), headers=headers or {})


#: What to do to a request, by its JSON body.
Script = Callable[[Mapping[str, Any]], Turn]


class ScriptedModel:
    """A server on a free port of the loopback, and what it was asked."""

    def __init__(self, turns: Sequence[Turn | str] | Script) -> None:
        """Take the turns in order, after which it answers 500; or a function that chooses."""
        self._turns = turns
        self._lock = threading.Lock()
        self._ended = threading.Event()
        #: Set when a client goes away before it has its answer.
        self.abandoned = threading.Event()
        #: The JSON bodies of the requests, in order.
        self.requests: list[dict[str, Any]] = []
        #: Their paths, with what is asked in them.
        self.paths: list[str] = []
        #: Their headers, with names in small letters.
        self.headers: list[dict[str, str]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True

    @property
    def endpoint(self) -> str:
        """The address for ``LLMConfig.endpoint``."""
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    @property
    def prompts(self) -> list[str]:
        """The last message of each request."""
        return [request["messages"][-1]["content"] for request in self.requests]

    @contextlib.contextmanager
    def serving(self) -> Iterator[ScriptedModel]:
        """Serve until it is left."""
        thread = threading.Thread(
            target=self._server.serve_forever, args=(_LOOK_S,), name="scripted-model"
        )
        thread.start()
        try:
            yield self
        finally:
            self._ended.set()
            self._server.shutdown()
            self._server.server_close()
            thread.join()

    def _next(self, request: dict[str, Any], headers: dict[str, str]) -> Turn:
        with self._lock:
            number = len(self.requests)
            self.requests.append(request)
            self.headers.append(headers)
        if callable(self._turns):
            return self._turns(request)
        if number >= len(self._turns):
            return refusing(500, "the script of the model is at its end")
        turn = self._turns[number]
        return Turn(content=turn) if isinstance(turn, str) else turn

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        model = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
                headers = {name.lower(): value for name, value in self.headers.items()}
                model.paths.append(self.path)
                turn = model._next(body, headers)
                # The client may have timed out.
                with contextlib.suppress(OSError):
                    self._answer(turn, body)

            def do_GET(self) -> None:
                listed = {"object": "list", "data": [{"id": "scripted", "object": "model"}]}
                self._send(200, {}, json.dumps(listed).encode())

            def _answer(self, turn: Turn, request: Mapping[str, Any]) -> None:
                streams = request.get("stream") if turn.streams is None else turn.streams
                if turn.trickles:
                    self._trickle(turn)
                elif turn.delay_s and not self._waits(turn.delay_s):
                    return
                if turn.raw is None and streams and turn.status == 200:
                    self._stream(turn, request)
                    return
                content = turn.raw
                if content is None:
                    content = json.dumps(_completion(turn, request)).encode()
                self._send(turn.status, turn.headers, content, turn.cut_off_after)

            def _trickle(self, turn: Turn) -> None:
                """Send a header that never ends, to keep the connection alive."""
                self.wfile.write(b"HTTP/1.0 200 OK\r\nX-Alive: ")
                for _ in range(int(turn.delay_s * 10)):
                    if not self._waits(0.1):
                        return
                    self.wfile.write(b".")
                    self.wfile.flush()

            def _waits(self, seconds: float) -> bool:
                """Wait, unless the client goes away; return whether it is still there."""
                until = time.monotonic() + seconds
                while (left := until - time.monotonic()) > 0 and not model._ended.is_set():
                    readable, _, _ = select.select([self.connection], [], [], min(left, _LOOK_S))
                    if readable and not self.connection.recv(1, socket.MSG_PEEK):
                        model.abandoned.set()
                        return False
                return not model._ended.is_set()

            def _stream(self, turn: Turn, request: Mapping[str, Any]) -> None:
                self.send_response(200)
                self.send_header("Content-Type", "text/event-stream; charset=utf-8")
                for name, value in turn.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                text = "".join(_events(turn, request)) + turn.stream_end
                content = text.encode()[: turn.cut_off_after]
                for part in content.splitlines(keepends=True):
                    if turn.part_delay_s and not self._waits(turn.part_delay_s):
                        return
                    self.wfile.write(part)
                    self.wfile.flush()

            def _send(
                self,
                status: int,
                headers: Mapping[str, str],
                content: bytes,
                cut_off_after: int | None = None,
            ) -> None:
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(content[:cut_off_after])

            def log_message(self, format: str, *args: Any) -> None:
                return

        return Handler


def _completion(turn: Turn, request: Mapping[str, Any]) -> dict[str, Any]:
    message = {"role": "assistant", "content": turn.content, **turn.message}
    choice = {"index": 0, "message": message, "finish_reason": turn.finish_reason}
    completion = {
        "id": "chatcmpl-scripted",
        "object": "chat.completion",
        "created": 0,
        "model": request.get("model", "scripted"),
        "choices": [choice],
    }
    return completion if turn.usage is None else {**completion, "usage": dict(turn.usage)}


def _events(turn: Turn, request: Mapping[str, Any]) -> Iterator[str]:
    """Yield the events of a stream: the text in parts, then its end and what was used."""
    completion = _completion(turn, request)
    usage = completion.pop("usage", None)
    (choice,) = completion.pop("choices")
    message = choice["message"]
    text = message.pop("content") or ""
    size = max(_PART, len(text) // _MOST_PARTS)
    parts = [text[start : start + size] for start in range(0, len(text), size)]
    deltas = [message, *({"content": part} for part in parts)]

    def event(**more: Any) -> str:
        chunk = {**completion, "object": "chat.completion.chunk", "choices": [], **more}
        return f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n"

    yield ": a comment keeps the connection alive\n\n"
    for delta in deltas:
        yield event(choices=[{"index": 0, "delta": delta, "finish_reason": None}])
    if choice["finish_reason"]:
        end = {"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}
        yield event(choices=[end])
    if usage is not None and (request.get("stream_options") or {}).get("include_usage"):
        yield event(usage=usage)
