"""The styles and scripts of pages, from memory: only files that are there when they are named."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from starlette.responses import Response

from keruta_agent.http.problems import Problem
from keruta_agent.http.request import Request
from keruta_agent.http.responses import has_already
from keruta_agent.http.routes import Resource, Route

#: Not by the machine's own table of types: browsers run no script under a wrong type.
_TYPES: Final = {".js": "text/javascript", ".css": "text/css", ".svg": "image/svg+xml"}
_HEADERS: Final = {
    # Asked for again each time, and answered with 304.
    "Cache-Control": "no-cache",
    # A worker has the policy of its own script, and not that of the page which starts it.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; connect-src 'self'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class _File:
    content: bytes
    tag: str


class StaticFiles(Resource):
    """The routes of some directories of files."""

    def __init__(self, directories: Mapping[str, Path]) -> None:
        """Take directories by the paths under which their files are served."""
        super().__init__("static", "")
        self._paths: dict[str, str] = {}
        for root, directory in directories.items():
            files = {path.name: path for path in directory.iterdir() if path.suffix in _TYPES}
            self._paths |= {name: f"{root}/{name}" for name in files}
            self.routes.append(
                Route(
                    method="GET",
                    path=f"{root}/{{name}}",
                    name=root,
                    group=self.name,
                    respond=functools.partial(_answer, files),
                )
            )

    def path(self, name: str) -> str:
        """Return the path of a file, below the prefix.

        Raises:
            KeyError: there is none of this name.
        """
        return self._paths[name]


def _answer(files: Mapping[str, Path], request: Request, *, name: str) -> Response:
    path = files.get(name)
    if path is None:
        raise Problem(404, "ROUTE_NOT_FOUND", f"there is no {request.method} {request.path}")
    file = _read(path)
    headers = {**_HEADERS, "ETag": file.tag}
    if has_already(request, file.tag):
        return Response(status_code=304, headers=headers)
    return Response(file.content, headers=headers, media_type=_TYPES[path.suffix])


@functools.cache
def _read(path: Path) -> _File:
    content = path.read_bytes()
    return _File(content=content, tag=f'"{hashlib.sha256(content).hexdigest()[:32]}"')
