"""Failures of views as refusals of one shape, and what the log says of them."""

from __future__ import annotations

import dataclasses
import logging

from starlette.exceptions import HTTPException

from keruta_agent.http.problems import CODES, Problem

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Failures:
    """What may go wrong with the storage of an API."""

    #: What it raises when it is busy or full.
    storage: tuple[type[Exception], ...]
    #: What it raises, as exactly this type, when it is damaged; their kinds are about something
    #: else.
    damages: tuple[type[Exception], ...]
    #: What to do then.
    when_damaged: str

    def problem_of(self, error: Exception) -> Problem:
        """Return a failure as a refusal; the log says what the client does not learn."""
        if isinstance(error, Problem):
            return error
        if isinstance(error, HTTPException):
            return _of_http(error)
        if isinstance(error, self.storage):
            return _of_storage(error)
        if type(error) in self.damages:
            return self._of_damage(error)
        logger.error("a request failed", exc_info=error, extra={"action": "server_request_failed"})
        return Problem(500, "INTERNAL_SERVER_ERROR", "the server failed; see its log")

    def _of_damage(self, error: Exception) -> Problem:
        message = f"the database is damaged: {error}. {self.when_damaged}"
        logger.error(message, extra={"action": "server_storage_failed"})
        return Problem(503, "STORAGE_DAMAGED", message)


def _of_http(error: HTTPException) -> Problem:
    status = error.status_code
    code = CODES.get(status, "INVALID_INPUT" if status < 500 else "INTERNAL_SERVER_ERROR")
    return Problem(status, code, error.detail, headers=error.headers)


def _of_storage(error: Exception) -> Problem:
    # A busy database or a full disk passes: 503 has the client come back, 500 would not.
    # One line: while a database is away, each request of each client comes here.
    reason = " ".join(str(error).split()) or type(error).__name__
    logger.error("storage failed: %s", reason, extra={"action": "server_storage_failed"})
    logger.debug("where storage failed", exc_info=error)
    return Problem(
        503,
        "STORAGE_ERROR",
        "the server cannot store anything now; see its log",
        headers={"Retry-After": "1"},
    )
