"""The application of API and pages."""

from __future__ import annotations

from typing import Final

from keruta_agent.core import wire
from keruta_agent.http.application import Application
from keruta_agent.http.pages.logins import Logins
from keruta_agent.http.proxies import Proxies
from keruta_agent.server.access import rights
from keruta_agent.server.access.admission import Access
from keruta_agent.server.access.auditing import Auditor
from keruta_agent.server.access.grants import Grants
from keruta_agent.server.access.stored_logins import StoredLogins
from keruta_agent.server.app_factory import new_application
from keruta_agent.server.pages.install import add_pages
from keruta_agent.server.readiness import api_context
from keruta_agent.server.resources import (
    agents,
    artifacts,
    audit,
    autofix,
    claims,
    coding_tasks,
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

#: In the order of the OpenAPI document.
_RESOURCES: Final = (
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
    coding_tasks,
    audit,
    health,
    events,
)


def create_application(
    store: Store,
    *,
    token: str | None = None,
    loopback: bool = True,
    proxies: Proxies | None = None,
) -> Application:
    """Return the application that serves a store.

    ``loopback`` says that only this machine can reach it; then requests to it under foreign names
    are refused unless there is a token. ``proxies`` are those in front of it.
    """
    context = api_context(store)
    grants = Grants(store.database, token=token)
    grants.refresh()
    auditor = Auditor(store.database)
    logins = StoredLogins(store.database, grants, auditor)
    app = new_application(
        context,
        Access(grants, rights.KERUTA, auditor, loopback=loopback, logins=logins),
        title="keruta API",
        fields={
            wire.AnyDate: ("string", "date-time"),
            **dict.fromkeys(
                (wire.Text, wire.TaskStatusField, wire.LogLevelField), ("string", None)
            ),
        },
        schemas={"LogEntry": wire.LogEntrySchema},
    )
    if proxies is not None:
        app.proxies = proxies
    app.add(*(module.resource for module in _RESOURCES))
    add_pages(app, Logins(logins))
    store.changes.fanout.refresh = grants.refresh
    app.on_stop.append(context.readiness.stop)
    app.on_stop.append(store.changes.fanout.stop)
    return app
