"""The page of the audit log, for admins."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from keruta_agent.http.pages import page_setup
from keruta_agent.http.request import Request
from keruta_agent.server.pages.group import pages
from keruta_agent.server.routes import store_of
from keruta_agent.server.store import audit_rows

#: Entries on the page; the API has all.
_MOST_SHOWN: Final = 200


@pages.get("/audit")
def show_audit(request: Request) -> Response:
    """Show the newest entries."""
    entries = audit_rows.newest(store_of(request).database, _MOST_SHOWN)
    return page_setup.page(request, "audit.html", entries=entries, most=_MOST_SHOWN)
