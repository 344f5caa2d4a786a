"""The WSGI application of the daemon's HTTP API, put together from its routes."""

from __future__ import annotations

import sqlite3
from typing import Any, Final

import flask

from keruta_agent.agent.control.http import (
    coding,
    events,
    health,
    input,
    jobs,
    logs,
    metrics,
    pages,
    queue,
    routes,
)
from keruta_agent.agent.control.http.access import PAGES, Access
from keruta_agent.agent.control.http.services import Services
from keruta_agent.agent.store.disk import DAMAGED_ADVICE
from keruta_agent.core import wire
from keruta_agent.http import drain
from keruta_agent.http.answers import answer_failures
from keruta_agent.http.pages import page_setup
from keruta_agent.http.problems import Problem
from keruta_agent.http.routes import DocumentedApi
from keruta_agent.http.streams import Streams

_RESOURCES: Final = (health, queue, jobs, coding, logs, input, events, metrics)

#: Bytes of a body; a script may be large.
MOST_BODY_BYTES: Final = 16 * 1024 * 1024

_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}


def create_application(services: Services, access: Access) -> flask.Flask:
    """Return the application that serves one agent to whom ``access`` lets in."""
    app = flask.Flask("keruta-agent", static_folder=None)
    app.url_map.merge_slashes = False  # a redirect is no answer to a program
    app.extensions[routes.SERVICES_KEY] = services
    app.extensions[events.STREAMS_KEY] = Streams(events.MOST_STREAMS)
    app.config["MAX_CONTENT_LENGTH"] = MOST_BODY_BYTES
    _document(app)
    page_setup.install(app, access.logins, pages.pages)

    @app.before_request
    def _check() -> None:
        access.check(flask.request)
        if flask.request.blueprint in PAGES:
            pages.admit(flask.request)
        else:
            _refuse_other_bodies(flask.request)

    @app.after_request
    def _secure(response: flask.Response) -> flask.Response:
        for name, value in _HEADERS.items():
            response.headers.setdefault(name, value)
        return drain.read_rest(response)

    @app.teardown_request
    def _release(error: BaseException | None) -> None:
        # Each thread of the server would keep a connection, and its cache, for ever.
        services.agent.records.database.close()

    answer_failures(
        app,
        (sqlite3.OperationalError, OSError),
        damages=(sqlite3.DatabaseError,),
        when_damaged=DAMAGED_ADVICE,
    )
    return app


def _refuse_other_bodies(request: flask.Request) -> None:
    """Refuse bodies that are not called JSON: a form on any web page can send those."""
    has_body = bool(request.content_length) or "Transfer-Encoding" in request.headers
    if has_body and not request.is_json:
        raise Problem(
            415,
            "UNSUPPORTED_MEDIA_TYPE",
            "the body must be sent as application/json",
            field="Content-Type",
        )


def _document(app: flask.Flask) -> None:
    api = DocumentedApi(app, title="keruta-agent")
    api.register_field(wire.AnyDate, "string", "date-time")
    api.spec.options["security"] = [{"bearer": []}]
    for module in _RESOURCES:
        resource: Any = module.resource
        resource.register(api)
    for name, operations in events.documentation().items():
        api.spec.path(rule=next(app.url_map.iter_rules(name)), operations=operations)
