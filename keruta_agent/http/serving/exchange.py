"""One request and its answer: what every application would have to do the same way.

A client that is refused early still sends its body. uvicorn closes the connection below it, and
the client sees a reset instead of the refusal: so the rest of the body is read first, within
bounds. And a failed application is answered for in the project's own shape.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
from collections.abc import Iterable
from typing import Any, Final

from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, Scope
from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from keruta_agent.http.problems import Problem
from keruta_agent.http.serving.limits import Limits

logger = logging.getLogger(__name__)

_CLOSE: Final = (b"connection", b"close")


class Exchange:
    """An application as it is called for one request."""

    def __init__(
        self, application: ASGI3Application, cycle: RequestResponseCycle, limits: Limits
    ) -> None:
        self._application = application
        self._cycle = cycle
        self._limits = limits
        self._send: ASGISendCallable = cycle.send
        #: The answer is complete but for its end, and the body is not.
        self._has_to_drain = False
        self._is_body_expected = True
        self._ends_by_close = False

    async def __call__(
        self, scope: Scope, receive: ASGIReceiveCallable, send: ASGISendCallable
    ) -> None:
        """Answer the request, whatever happens, and read what is left of it."""
        try:
            await self._answer(scope, receive)
            if self._has_to_drain:
                await self._drain(receive)
                await self._end()
        except asyncio.CancelledError:  # the host has waited for as long as it may
            self._cut_off()

    async def _end(self) -> None:
        if self._ends_by_close:
            self._cycle.expected_content_length = 0
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _answer(self, scope: Scope, receive: ASGIReceiveCallable) -> None:
        try:
            await self._application(scope, receive, self._forward)
            if not self._has_ended():
                raise RuntimeError("the application returned before the end of its answer")
        except Exception as exc:
            await self._answer_failure(exc)

    def _has_ended(self) -> bool:
        cycle = self._cycle
        return cycle.response_complete or cycle.disconnected or self._has_to_drain

    async def _forward(self, message: Any) -> None:
        if message["type"] == "http.response.start":
            message = self._begin(message)
        elif message["type"] == "http.response.body":
            message = self._go_on(message)
        await self._send(message)

    def _begin(self, message: Any) -> Any:
        headers = list(message.get("headers", ()))
        cycle = self._cycle
        if cycle.scope["http_version"] == "1.0" and not _has_length(headers):
            # uvicorn would send chunks, which this version does not know.
            cycle.chunked_encoding = False
            self._ends_by_close = True
        if cycle.more_body:
            # The client waits for a word before it sends its body: probably it never comes.
            self._is_body_expected = not cycle.waiting_for_100_continue
            headers = [each for each in headers if each[0].lower() != _CLOSE[0]]
            headers.append(_CLOSE)
        return {**message, "headers": headers}

    def _go_on(self, message: Any) -> Any:
        if self._ends_by_close:
            self._cycle.expected_content_length = len(message.get("body", b""))
        if self._cycle.more_body and not message.get("more_body", False):
            self._has_to_drain = True
            return {**message, "more_body": True}
        return message

    async def _answer_failure(self, exc: Exception) -> None:
        if self._cycle.disconnected:
            logger.debug("a request failed after its client had left", exc_info=exc)
            return
        logger.error("a request failed", exc_info=exc, extra={"action": "server_request_failed"})
        if not self._cycle.response_started:
            problem = Problem(500, "INTERNAL_SERVER_ERROR", "the server failed; see its log")
            body = encode(problem)
            headers = [
                (b"content-type", b"application/json"),
                (b"content-length", str(len(body)).encode()),
            ]
            await self._forward(
                {"type": "http.response.start", "status": problem.status, "headers": headers}
            )
            await self._forward({"type": "http.response.body", "body": body})
        elif not self._has_ended():
            # An orderly end would make half an answer look like a whole one.
            self._cut_off()

    def _cut_off(self) -> None:
        self._cycle.disconnected = True
        self._cycle.transport.abort()

    async def _drain(self, receive: ASGIReceiveCallable) -> None:
        left = self._limits.drained_bytes
        seconds = self._limits.drain_timeout_s if self._is_body_expected else self._limits.linger_s
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while left > 0:
                    message: Any = await receive()
                    if not message.get("more_body", False):
                        return
                    left -= len(message["body"])


def _has_length(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    return any(name.lower() == b"content-length" for name, _ in headers)


def encode(problem: Problem) -> bytes:
    """Return the body of a refusal as it is sent."""
    return json.dumps(problem.body(), ensure_ascii=False, separators=(",", ":")).encode()
