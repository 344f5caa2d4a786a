"""The application of the daemon's HTTP API, put together from its routes."""

from __future__ import annotations

import sqlite3
from typing import Final

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
)
from keruta_agent.agent.control.http.access import Access
from keruta_agent.agent.control.http.services import Services
from keruta_agent.agent.store.disk import DAMAGED_ADVICE
from keruta_agent.core import wire
from keruta_agent.http.application import Application, Hooks
from keruta_agent.http.failures import Failures
from keruta_agent.http.openapi import Document
from keruta_agent.http.pages.page_setup import PageSetup
from keruta_agent.http.problems import Problem
from keruta_agent.http.request import Request

_RESOURCES: Final = (health, queue, jobs, coding, logs, input, events, metrics)

_HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

_FAILURES: Final = Failures(
    storage=(sqlite3.OperationalError, OSError),
    damages=(sqlite3.DatabaseError,),
    when_damaged=DAMAGED_ADVICE,
)


def create_application(services: Services, access: Access) -> Application:
    """Return the application that serves one agent to whom ``access`` lets in."""

    status_page = PageSetup(access.logins, pages.pages)

    def admit(request: Request) -> None:
        access.check(request)
        if not status_page.owns(request):
            _refuse_other_bodies(request)

    hooks = Hooks(admit=admit, failures=_FAILURES, headers=_HEADERS)
    document = Document(
        "keruta-agent",
        security=[{"bearer": []}],
        fields={wire.AnyDate: ("string", "date-time")},
    )
    app = Application(services, document, hooks)
    app.add(*(module.resource for module in _RESOURCES))
    status_page.install(app)
    app.on_stop.append(services.watch.listeners.stop)
    return app


def _refuse_other_bodies(request: Request) -> None:
    """Refuse bodies that are not called JSON: a form on any web page can send those."""
    if request.has_body and not request.is_json:
        raise Problem(
            415,
            "UNSUPPORTED_MEDIA_TYPE",
            "the body must be sent as application/json",
            field="Content-Type",
        )
