"""Failures of views as answers of one shape: JSON, and for a person a page."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Any

import flask
from werkzeug.exceptions import HTTPException

from keruta_agent.http.bodies import to_json
from keruta_agent.http.pages import page_setup
from keruta_agent.http.problems import CODES, Problem
from keruta_agent.http.routes import json_response

logger = logging.getLogger(__name__)


def answer_failures(
    app: flask.Flask,
    storage_failures: Iterable[type[Exception]],
    *,
    damages: Iterable[type[Exception]],
    when_damaged: str,
) -> None:
    """Register the handlers by which an application answers refusals and failures.

    Args:
        app: the application.
        storage_failures: what its storage raises when it is busy or full.
        damages: what it raises, as exactly this type, when it is damaged; their kinds are about
            something else.
        when_damaged: what to do then.
    """
    damages = frozenset(damages)

    def answer_damage(error: Exception) -> flask.Response:
        if type(error) not in damages:
            return _answer_crash(error)
        logger.error(
            "the database is damaged: %s. %s",
            error,
            when_damaged,
            extra={"action": "server_storage_failed"},
        )
        return _answer_problem(
            Problem(503, "STORAGE_DAMAGED", f"the database is damaged: {error}. {when_damaged}")
        )

    for damage in damages:
        app.register_error_handler(damage, answer_damage)
    app.register_error_handler(Problem, _answer_problem)
    app.register_error_handler(HTTPException, _answer_http_exception)
    for failure in storage_failures:
        app.register_error_handler(failure, _answer_storage_failure)
    app.register_error_handler(Exception, _answer_crash)


def _answer_problem(problem: Problem) -> flask.Response:
    if page_setup.wants_page(flask.request):
        return page_setup.problem_page(problem)
    response = json_response(to_json(problem.body()), problem.status)
    response.headers.update(problem.headers)
    return response


def _answer_http_exception(error: HTTPException) -> Any:
    status = error.code or 500
    if status < 400:
        return error.get_response()
    code = CODES.get(status, "INVALID_INPUT" if status < 500 else "INTERNAL_SERVER_ERROR")
    headers = dict(error.get_headers())
    headers.pop("Content-Type", None)
    message = error.description or error.name
    if status == 404:  # its own words are about typing an address into a browser
        message = f"there is no {flask.request.method} {flask.request.path}"
    return _answer_problem(Problem(status, code, message, headers=headers))


def _answer_storage_failure(error: Exception) -> flask.Response:
    # A busy database or a full disk passes: 503 has the client come back, 500 would not.
    # One line: while a database is away, each request of each client comes here.
    reason = " ".join(str(error).split()) or type(error).__name__
    logger.error("storage failed: %s", reason, extra={"action": "server_storage_failed"})
    logger.debug("where storage failed", exc_info=error)
    return _answer_problem(
        Problem(
            503,
            "STORAGE_ERROR",
            "the server cannot store anything now; see its log",
            headers={"Retry-After": "1"},
        )
    )


def _answer_crash(error: Exception) -> flask.Response:
    logger.error("a request failed", exc_info=error, extra={"action": "server_request_failed"})
    return _answer_problem(Problem(500, "INTERNAL_SERVER_ERROR", "the server failed; see its log"))
