"""The application of one service, whose every answer is JSON."""

from __future__ import annotations

from typing import Any

import peewee
from marshmallow import Schema, fields

from keruta_agent.core import wire
from keruta_agent.http.application import Application
from keruta_agent.http.routes import Answer
from keruta_agent.server import routes
from keruta_agent.server.access.admission import Access
from keruta_agent.server.access.auditing import Auditor
from keruta_agent.server.access.rights import RUNNER_SERVICES
from keruta_agent.server.app_factory import new_application
from keruta_agent.server.resources import health
from keruta_agent.server.runner_services.context import Services
from keruta_agent.server.store.store import Store


class ServiceHealthAnswer(Schema):
    """How the service is."""

    status = fields.String(required=True)
    service = fields.String(required=True)


def create_application(
    title: str,
    services: Services,
    resource: routes.Resource,
    *,
    loopback: bool = True,
) -> Application:
    """Return the application of one service.

    ``loopback`` says that only this machine can reach it; then requests to it under foreign names
    are refused unless there is a token.
    """
    app = new_application(
        services,
        Access(
            services.grants, RUNNER_SERVICES, Auditor(services.store.database), loopback=loopback
        ),
        title=title,
        fields={wire.AnyDate: ("string", "date-time")},
    )
    app.add(_health(title), resource)
    app.on_stop.append(services.readiness.stop)
    return app


def _health(title: str) -> routes.Resource:
    group = routes.Resource("health", "How the service is")

    @group.read("/health", answer=ServiceHealthAnswer)
    def get_health(store: Store) -> Any:
        """Return whether the service and its database work."""
        try:
            store.database.peewee.execute_sql("SELECT 1")
        except (peewee.DatabaseError, peewee.InterfaceError):
            return Answer(body={"status": "DOWN", "service": title}, status=503)
        return {"status": "UP", "service": title}

    health.declare_ready(group)
    return group
