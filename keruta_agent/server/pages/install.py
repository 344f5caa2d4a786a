"""The installation of the pages in the application."""

from __future__ import annotations

import flask

from keruta_agent.http.pages import page_setup
from keruta_agent.http.pages.logins import Logins
from keruta_agent.server.pages import artifacts, board, filing, sessions, steering, task
from keruta_agent.server.pages.blueprint import pages

#: Loading them adds their routes to the blueprint.
PAGES = (sessions, board, filing, steering, task, artifacts)


def add_pages(app: flask.Flask, logins: Logins) -> None:
    """Add the pages, what they look like, and who may see them to an application."""
    page_setup.install(app, logins, pages)
