"""Find out which dialect a server speaks without changing anything there.

Each question names a task that does not exist. A server that has the route misses the task; one
that lacks the route answers as it does for a route that nobody has.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final, Self

import keruta_agent
from keruta_agent.agent.api import events
from keruta_agent.agent.api.routes import MISSING_ROUTE_STATUSES
from keruta_agent.core import errors
from keruta_agent.http.client.http import HttpClient

#: Optional routes that take JSON: name, method, last part of the path, a body that makes sense.
_WRITES: Final[tuple[tuple[str, str, str, Mapping[str, Any]], ...]] = (
    ("progress", "PATCH", "progress", {"progress": 1}),
    ("metrics", "POST", "metrics", {"durationMs": 1}),
    ("auto-fix", "POST", "auto-fix", {"errorMessage": "", "errorCode": ""}),
)
_BOUNDARY: Final = "keruta-doctor"
_UPLOAD: Final = (
    f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="x"\r\n'
    f"Content-Type: text/plain\r\n\r\nx\r\n--{_BOUNDARY}--\r\n"
).encode()
_ACTION: Final = "Asking the server what it has"


class Probe:
    """The probe of one server for what it has."""

    def __init__(
        self, base_url: str, token: str | None, timeout_s: float, ca_file: Path | None = None
    ) -> None:
        self._http = HttpClient(
            base_url,
            token=token,
            timeout_s=timeout_s,
            user_agent=f"keruta-agent/{keruta_agent.__version__}",
            ca_file=ca_file,
        )
        self._timeout_s = timeout_s
        #: Random, so that no task can have it.
        self._nobody = str(uuid.uuid4())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._http.close()

    def routes(self) -> dict[str, bool]:
        """Return which optional routes the server has.

        Raises:
            ApiError: the server cannot be asked now.
        """
        nowhere = self._answer(lambda: self._write("POST", "no-such-route", {}))
        answers = {
            name: self._answer(partial(self._write, method, path, body))
            for name, method, path, body in _WRITES
        }
        answers["artifacts"] = self._answer(self._upload)
        answers["input"] = self._answer(self._read_input)
        answers["events"] = self._answer(self._open_events)
        return {
            name: answer != nowhere and answer[0] not in MISSING_ROUTE_STATUSES
            for name, answer in answers.items()
        }

    def running_name(self) -> str:
        """Return the word for a running task that the server takes.

        IN_PROGRESS is never asked about: servers that know it may lock a task at it, also one
        that they do not have.

        Raises:
            ApiError: the server cannot be asked now.
        """
        body = {"status": "PROCESSING", "message": "", "progress": 0, "errorCode": ""}
        status, _ = self._answer(partial(self._write, "PUT", "status", body))
        # An unknown word is refused before the task is looked for.
        return "PROCESSING" if status == 404 else "IN_PROGRESS"

    def _answer(self, ask: Callable[[], object]) -> tuple[int, str]:
        """Return an answer's status and the code in its words, which name no id."""
        try:
            ask()
        except (errors.ApiUnreachable, errors.ApiAmbiguous, errors.ApiUnauthorized):
            raise
        except errors.ApiError as exc:
            code = re.search(r"\(([A-Z_]{3,})", exc.message)
            return exc.status or 0, code.group(1) if code else ""
        return 200, ""

    def _write(self, method: str, name: str, body: Mapping[str, Any]) -> None:
        self._http.write(_ACTION, method, self._path(name), body, key=self._key())

    def _upload(self) -> None:
        self._http.upload(
            _ACTION,
            self._path("artifacts"),
            _UPLOAD,
            content_type=f"multipart/form-data; boundary={_BOUNDARY}",
            key=self._key(),
            timeout_s=self._timeout_s,
        )

    def _read_input(self) -> None:
        self._http.get(_ACTION, self._path("input"))

    def _open_events(self) -> None:
        stream = self._http.stream(
            _ACTION,
            events.PATH,
            params={"sessionId": self._nobody},
            headers={"Accept": "text/event-stream"},
            silence_s=self._timeout_s,
        )
        with stream:  # an answer is enough: nothing is read
            return

    def _path(self, name: str) -> str:
        return f"/api/v1/tasks/{self._nobody}/{name}"

    def _key(self) -> str:
        return f"doctor-{uuid.uuid4().hex}"
