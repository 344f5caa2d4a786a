"""Puts the routes of one service together into a WSGI application whose every answer is JSON."""

from __future__ import annotations

import sqlite3
from typing import Any

import flask
import peewee
from marshmallow import Schema, fields

from keruta_agent.server import routes
from keruta_agent.server.access import OPENAPI_PATH, Access
from keruta_agent.server.runner_services.store import Store
from keruta_agent.web import drain
from keruta_agent.web.answers import answer_failures
from keruta_agent.web.problems import Problem
from keruta_agent.web.routes import Answer, DocumentedApi

#: Bytes of a JSON body: an event, a state. Artifacts are read past it, piece by piece.
MAX_BODY = 8 * 1024 * 1024


class HealthAnswer(Schema):
    """How the service is."""

    status = fields.String(required=True)
    service = fields.String(required=True)


def create_application(
    title: str,
    store: Store,
    resource: routes.Resource,
    *,
    token: str | None = None,
    loopback: bool = True,
) -> flask.Flask:
    """Returns the application of one service.

    ``loopback`` says that only this machine can reach it; then requests to it under foreign names
    are refused unless there is a token.
    """
    app = flask.Flask("keruta-runner-services", static_folder=None)
    app.extensions[routes.STORE_KEY] = store
    app.config.update(
        API_TITLE=title,
        API_VERSION="v1",
        OPENAPI_VERSION="3.1.0",
        OPENAPI_URL_PREFIX="/",
        OPENAPI_JSON_PATH=OPENAPI_PATH.lstrip("/"),
        MAX_CONTENT_LENGTH=MAX_BODY,
    )
    api = DocumentedApi(app)
    api.spec.components.security_scheme("bearer", {"type": "http", "scheme": "bearer"})
    # Without a token set, the services ask for none.
    api.spec.options["security"] = [{"bearer": []}, {}]
    _health(title).register(api)
    resource.register(api)
    access = Access(token=token, loopback=loopback)

    @app.before_request
    def _check_access() -> None:
        access.check(flask.request)
        values = flask.request.view_args or {}
        if any("\0" in str(value) for value in values.values()):
            raise Problem(404, "NOT_FOUND", "nothing has an id with NUL in it")

    app.after_request(drain.read_rest)
    answer_failures(
        app, (peewee.OperationalError, peewee.InterfaceError, sqlite3.OperationalError, OSError)
    )
    return app


def _health(title: str) -> routes.Resource:
    group = routes.Resource("health", "How the service is")

    @group.read("/health", answer=HealthAnswer)
    def get_health(store: Store) -> Any:
        """Says whether the service and its database work."""
        try:
            store.database.peewee.execute_sql("SELECT 1")
        except (peewee.DatabaseError, peewee.InterfaceError):
            return Answer(body={"status": "DOWN", "service": title}, status=503)
        return {"status": "UP", "service": title}

    return group
