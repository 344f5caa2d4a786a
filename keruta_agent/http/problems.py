"""What a request can be refused for, and the one JSON shape of refusals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

#: Codes of the statuses that the web framework itself answers with.
CODES: Mapping[int, str] = {
    400: "INVALID_INPUT",
    401: "UNAUTHORIZED",
    403: "FORBIDDEN",
    404: "ROUTE_NOT_FOUND",
    405: "METHOD_NOT_ALLOWED",
    408: "REQUEST_TIMEOUT",
    409: "CONFLICT",
    413: "BODY_TOO_LARGE",
    415: "UNSUPPORTED_MEDIA_TYPE",
    416: "RANGE_NOT_SATISFIABLE",
    431: "HEADERS_TOO_LARGE",
    503: "UNAVAILABLE",
    505: "VERSION_NOT_SUPPORTED",
}


class Problem(Exception):
    """A refusal: it ends the request, undoes its writes, and becomes the answer."""

    def __init__(
        self,
        status: int,
        code: str,
        message: str,
        *,
        field: str | None = None,
        headers: Mapping[str, str] | None = None,
        details: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.field = field
        self.headers = dict(headers or {})
        self.details = dict(details or {})

    def body(self) -> dict[str, Any]:
        """Return the JSON body of the answer."""
        error: dict[str, Any] = {"code": self.code, "message": self.message, "status": self.status}
        if self.field is not None:
            error["field"] = self.field
        return {"error": error | self.details}


def invalid(field: str, message: str) -> Problem:
    """Return the refusal of an invalid value (400); ``message`` says what is allowed."""
    return Problem(400, "INVALID_INPUT", f"{field}: {message}", field=field)


def missing(kind: str, identifier: str, *, key: str = "id") -> Problem:
    """Return the refusal of an id that nothing has (404).

    Its code tells it apart from an unknown route: clients remember the latter.
    """
    return Problem(404, f"{kind.upper()}_NOT_FOUND", f"no {kind} has the {key} {identifier!r}")


def conflict(code: str, message: str, *, field: str | None = None, **details: str) -> Problem:
    """Return the refusal of a write that contradicts what is stored (409)."""
    return Problem(409, code, message, field=field, details=details)
