"""The WSGI application of API and pages."""

from __future__ import annotations

import copy

import flask

from keruta_agent.core import wire
from keruta_agent.http.bodies import MAX_JSON_BODY
from keruta_agent.http.pages.logins import Logins
from keruta_agent.http.routes import DocumentedApi
from keruta_agent.http.streams import Streams
from keruta_agent.server.access import Access
from keruta_agent.server.app_factory import guard, new_application
from keruta_agent.server.pages.install import add_pages
from keruta_agent.server.resources import (
    agents,
    artifacts,
    autofix,
    claims,
    events,
    health,
    input,
    logs,
    metrics,
    progress,
    script,
    sessions,
    status,
    tasks,
    workspaces,
)
from keruta_agent.server.store.store import Store

_RESOURCES = (
    sessions,
    tasks,
    status,
    agents,
    claims,
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
    """Return the application that serves a store.

    ``loopback`` says that only this machine can reach it; then requests to it under foreign names
    are refused unless there is a token.
    """
    # Artifacts are read past the largest body, piece by piece.
    app, api = new_application("keruta-server", store, title="keruta API", max_body=MAX_JSON_BODY)
    app.extensions[events.STREAMS_KEY] = streams or Streams(events.MAX_STREAMS)
    # Scripts come by forms too.
    app.config["MAX_FORM_MEMORY_SIZE"] = MAX_JSON_BODY
    _document(app, api)
    add_pages(app, Logins(store.directory.path / _KEY_FILE, token=token))
    guard(app, Access(token=token, loopback=loopback))
    return app


def _document(app: flask.Flask, api: DocumentedApi) -> None:
    api.register_field(wire.AnyDate, "string", "date-time")
    for text in (wire.Text, wire.TaskStatusField, wire.LogLevelField):
        api.register_field(text, "string", None)
    api.spec.components.schema("LogEntry", schema=wire.LogEntrySchema)
    for module in _RESOURCES:
        module.resource.register(api)
    stream = next(app.url_map.iter_rules(events.stream_events.__name__))
    api.spec.path(rule=stream, operations=copy.deepcopy(events.DOCUMENTATION))
