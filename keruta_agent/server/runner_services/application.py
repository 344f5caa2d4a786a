"""The WSGI application of one service, whose every answer is JSON."""

from __future__ import annotations

from typing import Any

import flask
import peewee
from marshmallow import Schema, fields

from keruta_agent.http.routes import Answer
from keruta_agent.server import routes
from keruta_agent.server.access import Access
from keruta_agent.server.app_factory import guard, new_application
from keruta_agent.server.runner_services.store import Store

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
    """Return the application of one service.

    ``loopback`` says that only this machine can reach it; then requests to it under foreign names
    are refused unless there is a token.
    """
    app, api = new_application("keruta-runner-services", store, title=title, max_body=MAX_BODY)
    _health(title).register(api)
    resource.register(api)
    guard(app, Access(token=token, loopback=loopback))
    return app


def _health(title: str) -> routes.Resource:
    group = routes.Resource("health", "How the service is")

    @group.read("/health", answer=HealthAnswer)
    def get_health(store: Store) -> Any:
        """Return whether the service and its database work."""
        try:
            store.database.peewee.execute_sql("SELECT 1")
        except (peewee.DatabaseError, peewee.InterfaceError):
            return Answer(body={"status": "DOWN", "service": title}, status=503)
        return {"status": "UP", "service": title}

    return group
