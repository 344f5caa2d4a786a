"""The installation of the pages in the application."""

from __future__ import annotations

from keruta_agent.http.application import Application
from keruta_agent.http.pages.logins import Logins
from keruta_agent.http.pages.page_setup import PageSetup
from keruta_agent.server.pages import (
    artifacts,
    audit,
    board,
    filing,
    sessions,
    steering,
    task,
    tokens,
    visitor_rights,
)
from keruta_agent.server.pages.group import pages

#: Loading them adds their routes to the group.
PAGES = (sessions, board, filing, steering, task, artifacts, tokens, audit)


def add_pages(app: Application, logins: Logins) -> None:
    """Add the pages, what they look like, and who may see them to an application."""
    PageSetup(logins, pages, values=visitor_rights.values).install(app)
