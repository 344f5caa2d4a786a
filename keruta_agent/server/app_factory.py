"""The factory of the applications of all servers here: OpenAPI document, access, failures."""

from __future__ import annotations

import sqlite3

import flask
import peewee

from keruta_agent.http import drain
from keruta_agent.http.answers import answer_failures
from keruta_agent.http.problems import Problem
from keruta_agent.http.routes import DocumentedApi
from keruta_agent.server import routes
from keruta_agent.server.access import Access
from keruta_agent.server.store.protocol import StoreProtocol


def new_application(
    name: str, store: StoreProtocol, *, title: str, max_body: int
) -> tuple[flask.Flask, DocumentedApi]:
    """Return an application without routes that serves a store, and its OpenAPI document."""
    app = flask.Flask(name, static_folder=None)
    app.extensions[routes.STORE_KEY] = store
    app.config["MAX_CONTENT_LENGTH"] = max_body
    api = DocumentedApi(app, title=title)
    # Without a token set, the server asks for none.
    api.spec.options["security"] = [{"bearer": []}, {}]
    return app, api


def guard(app: flask.Flask, access: Access) -> None:
    """Refuse requests without access, and answer every failure as a problem."""

    @app.before_request
    def _check_access() -> None:
        access.check(flask.request)
        values = flask.request.view_args or {}
        if any("\0" in str(value) for value in values.values()):
            raise Problem(404, "NOT_FOUND", "nothing has an id with NUL in it")

    app.after_request(drain.read_rest)
    answer_failures(
        app,
        (peewee.OperationalError, peewee.InterfaceError, sqlite3.OperationalError, OSError),
        damages=(peewee.DatabaseError, sqlite3.DatabaseError),
        when_damaged="Stop the server, then restore its database from a copy, or save what can be "
        "read with: sqlite3 DATABASE .recover",
    )
