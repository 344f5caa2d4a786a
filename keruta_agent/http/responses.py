"""Answers: JSON, long ones in parts, and files."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from starlette.responses import FileResponse, Response
from starlette.types import Receive, Scope, Send

from keruta_agent.http.bodies import to_json

if TYPE_CHECKING:
    from keruta_agent.http.request import Request

JSON: str = "application/json"


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
    path: Path,
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
        path: where the file is.
        media_type: what it is.
        name: what it is saved as.
        sha256: of its content, in hex.
        inline: whether it is shown rather than saved.
        headers: more of them.

    Raises:
        FileNotFoundError: there is none.
    """
    found = path.stat()
    tag = f'"{sha256}"'
    answered = {
        **(headers or {}),
        "ETag": tag,
        "Cache-Control": "no-cache",
        "Content-Disposition": _disposition("inline" if inline else "attachment", name),
    }
    if has_already(request, tag):
        return Response(status_code=304, headers=answered)
    return FileResponse(path, headers=answered, media_type=media_type, stat_result=found)


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
