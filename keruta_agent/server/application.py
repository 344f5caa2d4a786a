"""Puts API and pages together into one WSGI application."""

from __future__ import annotations

import copy
import sqlite3

import flask
import peewee

from keruta_agent import wire
from keruta_agent.server import (
    artifacts,
    autofix,
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
from keruta_agent.server.pages.install import add_pages
from keruta_agent.server.store import Store
from keruta_agent.web import drain
from keruta_agent.web.answers import answer_failures
from keruta_agent.web.bodies import MAX_JSON_BODY
from keruta_agent.web.pages.logins import Logins, stored_key
from keruta_agent.web.problems import Problem
from keruta_agent.web.routes import DocumentedApi
from keruta_agent.web.streams import Streams

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

#: In the data directory: signs the cookies of the pages.
_KEY_FILE = "pages.key"


def create_application(
    store: Store,
    *,
    token: str | None = None,
    loopback: bool = True,
    streams: Streams | None = None,
) -> flask.Flask:
    """Returns the application that serves a store.

    ``loopback`` says that only this machine can reach it; then requests to it under foreign names
    are refused unless there is a token.
    """
    app = flask.Flask("keruta-server", static_folder=None)
    app.extensions[routes.STORE_KEY] = store
    app.extensions[events.STREAMS_KEY] = streams or Streams(events.MAX_STREAMS)
    app.config.update(
        API_TITLE="keruta API",
        API_VERSION="v1",
        OPENAPI_VERSION="3.1.0",
        OPENAPI_URL_PREFIX="/",
        OPENAPI_JSON_PATH=OPENAPI_PATH.lstrip("/"),
        # Artifacts are read past it, piece by piece.
        MAX_CONTENT_LENGTH=MAX_JSON_BODY,
        # Scripts come by forms too.
        MAX_FORM_MEMORY_SIZE=MAX_JSON_BODY,
    )
    _document(app)
    add_pages(app, Logins(stored_key(store.directory.path / _KEY_FILE), token=token))
    access = Access(token=token, loopback=loopback)

    @app.before_request
    def _check_access() -> None:
        access.check(flask.request)
        values = flask.request.view_args or {}
        if any("\0" in str(value) for value in values.values()):
            raise Problem(404, "NOT_FOUND", "nothing has an id with NUL in it")

    app.after_request(drain.read_rest)
    answer_failures(
        app,
        (
            peewee.OperationalError,
            peewee.InterfaceError,
            sqlite3.OperationalError,
            OSError,
        ),
    )
    return app


def _document(app: flask.Flask) -> None:
    api = DocumentedApi(app)
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
