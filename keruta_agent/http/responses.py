"""Answers: JSON, long ones in parts, and files."""

from __future__ import annotations

import asyncio
import os
import re
import stat
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import quote

from starlette.responses import FileResponse, Response
from starlette.types import Message, Receive, Scope, Send

from keruta_agent.http.bodies import to_json

if TYPE_CHECKING:
    from keruta_agent.http.request import Request

JSON: str = "application/json"

#: Bytes of content that are read at a time from elsewhere, and held in memory for each client.
_PIECE: Final = 2 * 1024 * 1024
_CONTENT_RANGE: Final = re.compile(r"bytes (\d+)-(\d+)/\d+\Z", re.ASCII)


class Content(Protocol):
    """Content that is no file of this machine."""

    #: Bytes.
    size: int
    #: In seconds since 1970.
    modified_at: float

    async def read(self, start: int, length: int) -> bytes:
        """Return some bytes; of no length, only look whether the content is there."""


def json_response(text: str, status: int = 200) -> Response:
    """Return JSON text as an answer; 204 carries none."""
    if status == 204:
        return Response(status_code=204)
    # Not by media_type: a charset would be added to it.
    return Response(text + "\n", status, {"Content-Type": JSON})


def json_value(value: Any, status: int = 200) -> Response:
    """Return a JSON value as an answer; 204 carries none."""
    return json_response("" if status == 204 else to_json(value), status)


class PartsResponse(Response):
    """A long answer, made a part at a time: only when the client has taken the one before."""

    def __init__(self, parts: Iterator[str], content_type: str = JSON) -> None:
        super().__init__(headers={"Content-Type": content_type})
        del self.headers["Content-Length"]
        self._parts = parts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": self.raw_headers})
        client = asyncio.create_task(_departure(receive))
        try:
            while not client.done():
                part = await scope["app"].run(next, self._parts, None)
                more = part is not None
                body = (part or "").encode()
                await send({"type": "http.response.body", "body": body, "more_body": more})
                if not more:
                    return
        finally:
            client.cancel()


async def _departure(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def file_response(
    request: Request,
    source: Path | Content,
    *,
    media_type: str,
    name: str,
    sha256: str,
    inline: bool = False,
    headers: Mapping[str, str] | None = None,
) -> Response:
    """Return a file as an answer, or a part of it, or that the client has it already.

    Args:
        request: asks for it; it may name ranges, or the tag of what it has.
        source: the file, or its content where it is elsewhere.
        media_type: what it is.
        name: what it is saved as.
        sha256: of its content, in hex.
        inline: whether it is shown rather than saved.
        headers: more of them.

    Raises:
        FileNotFoundError: there is no such file; of other content it is found out when it is sent.
    """
    found = source.stat() if isinstance(source, Path) else _stat(source)
    tag = f'"{sha256}"'
    answered = {
        **(headers or {}),
        "ETag": tag,
        "Cache-Control": "no-cache",
        "Content-Disposition": _disposition("inline" if inline else "attachment", name),
    }
    if has_already(request, tag):
        return Response(status_code=304, headers=answered)
    if isinstance(source, Path):
        return FileResponse(source, headers=answered, media_type=media_type, stat_result=found)
    return _ContentResponse(source, answered, media_type)


class _ContentResponse(FileResponse):
    """Content from elsewhere, or a range of it: a piece is read when the client took the last."""

    def __init__(self, content: Content, headers: Mapping[str, str], media_type: str) -> None:
        super().__init__("", headers=headers, media_type=media_type, stat_result=_stat(content))
        self._content = content

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        begin, *rest = await self._without_body(scope, receive)
        if begin["status"] in (200, 206):
            start, end = _range(begin, self._content.size)
            if scope["method"] != "HEAD" and start < end:
                await self._send_pieces(begin, start, end, receive, send)
                return
            await self._content.read(0, 0)
        for message in (begin, *rest):
            await send(message)

    async def _without_body(self, scope: Scope, receive: Receive) -> list[Message]:
        """Return what Starlette answers a HEAD request, where it says what a GET is about."""
        asked = {**scope, "method": "HEAD"}
        if b"," in b"".join(text for name, text in scope["headers"] if name == b"range"):
            # Of several ranges all is sent, as a server may: nobody asks for them.
            asked["headers"] = [each for each in scope["headers"] if each[0] != b"range"]
        messages: list[Message] = []

        async def note(message: Message) -> None:
            messages.append(message)

        await super().__call__(asked, receive, note)
        return messages

    async def _send_pieces(
        self, begin: Message, start: int, end: int, receive: Receive, send: Send
    ) -> None:
        # Before the status is sent: the content may be gone, or out of reach.
        piece = await self._read(start, end)
        await send(begin)
        client = asyncio.create_task(_departure(receive))
        try:
            while not client.done():
                start += len(piece)
                await send({"type": "http.response.body", "body": piece, "more_body": start < end})
                if start == end:
                    return
                piece = await self._read(start, end)
        finally:
            client.cancel()

    async def _read(self, start: int, end: int) -> bytes:
        piece = await self._content.read(start, min(_PIECE, end - start))
        if not piece:
            raise OSError("an artifact's content is shorter than it was")
        return piece


def _range(begin: Message, size: int) -> tuple[int, int]:
    """Return the bytes that an answer is about."""
    headers = dict(begin["headers"])
    found = _CONTENT_RANGE.match(headers.get(b"content-range", b"").decode("latin-1"))
    return (int(found[1]), int(found[2]) + 1) if found else (0, size)


def _stat(content: Content) -> os.stat_result:
    """Return size and time of content as those of a file, which Starlette's headers are about."""
    at = int(content.modified_at)
    return os.stat_result((stat.S_IFREG | 0o600, 0, 0, 1, 0, 0, content.size, at, at, at))


def has_already(request: Request, tag: str) -> bool:
    """Return whether the client has what this tag is of."""
    asked = request.headers.get("If-None-Match", "")
    return asked.strip() == "*" or tag in (
        each.strip().removeprefix("W/") for each in asked.split(",")
    )


def _disposition(how: str, name: str) -> str:
    if name.isascii() and name.isprintable() and not set(name) & set('"\\%'):
        return f'{how}; filename="{name}"'
    encoded = quote(name.encode("utf-8", "replace"), safe="")
    plain = name.encode("ascii", "replace").decode().replace("?", "_")
    plain = "".join(mark if mark.isprintable() and mark not in '"\\%' else "_" for mark in plain)
    return f"{how}; filename=\"{plain}\"; filename*=UTF-8''{encoded}"
