"""Puts the routes together into one WSGI application whose every answer is JSON."""

from __future__ import annotations

import copy
import logging
import sqlite3
from typing import Any

import flask
import peewee
from werkzeug.exceptions import HTTPException

from keruta_agent import wire
from keruta_agent.server import (
    artifacts,
    autofix,
    drain,
    events,
    health,
    input,
    logs,
    metrics,
    progress,
    routes,
    script,
    sessions,
    status,
    tasks,
    workspaces,
)
from keruta_agent.server.access import OPENAPI_PATH, Access
from keruta_agent.server.bodies import MAX_JSON_BODY
from keruta_agent.server.problems import CODES, Problem
from keruta_agent.server.store import Store
from keruta_agent.server.tables import to_json

logger = logging.getLogger(__name__)

_RESOURCES = (
    sessions,
    tasks,
    status,
    progress,
    script,
    logs,
    artifacts,
    input,
    autofix,
    metrics,
    workspaces,
    health,
    events,
)


def create_application(
    store: Store,
    *,
    token: str | None = None,
    loopback: bool = True,
    streams: events.Streams | None = None,
) -> flask.Flask:
    """Returns the application that serves a store.

    ``loopback`` says that only this machine can reach it; then requests to it under foreign names
    are refused unless there is a token.
    """
    app = flask.Flask("keruta-server", static_folder=None)
    app.extensions[routes.STORE_KEY] = store
    app.extensions[events.STREAMS_KEY] = streams or events.Streams()
    app.config.update(
        API_TITLE="keruta API",
        API_VERSION="v1",
        OPENAPI_VERSION="3.1.0",
        OPENAPI_URL_PREFIX="/",
        OPENAPI_JSON_PATH=OPENAPI_PATH.lstrip("/"),
        # Artifacts are read past it, piece by piece.
        MAX_CONTENT_LENGTH=MAX_JSON_BODY,
    )
    _document(app)
    access = Access(token=token, loopback=loopback)

    @app.before_request
    def _check_access() -> None:
        access.check(flask.request)
        values = flask.request.view_args or {}
        if any("\0" in str(value) for value in values.values()):
            raise Problem(404, "NOT_FOUND", "nothing has an id with NUL in it")

    app.after_request(drain.read_rest)
    app.register_error_handler(Problem, _answer_problem)
    app.register_error_handler(HTTPException, _answer_http_exception)
    for failure in (
        peewee.OperationalError,
        peewee.InterfaceError,
        sqlite3.OperationalError,
        OSError,
    ):
        app.register_error_handler(failure, _answer_storage_failure)
    app.register_error_handler(Exception, _answer_crash)
    return app


def _document(app: flask.Flask) -> None:
    api = routes.DocumentedApi(app)
    api.register_field(wire.AnyDate, "string", "date-time")
    for text in (wire.Text, wire.TaskStatusField, wire.LogLevelField):
        api.register_field(text, "string", None)
    api.spec.components.schema("LogEntry", schema=wire.LogEntrySchema)
    api.spec.components.security_scheme("bearer", {"type": "http", "scheme": "bearer"})
    # Without a token set, the server asks for none.
    api.spec.options["security"] = [{"bearer": []}, {}]
    for module in _RESOURCES:
        module.resource.register(api)
    stream = next(app.url_map.iter_rules(events.stream_events.__name__))
    api.spec.path(rule=stream, operations=copy.deepcopy(events.DOCUMENTATION))


def _answer_problem(problem: Problem) -> flask.Response:
    response = routes.json_response(to_json(problem.body()), problem.status)
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
    return _answer_problem(Problem(status, code, message, headers=headers))


def _answer_storage_failure(error: Exception) -> flask.Response:
    # A busy database or a full disk passes: 503 has the client come back, 500 would not.
    logger.error("storage failed", exc_info=error, extra={"action": "server_storage_failed"})
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
