"""What all pages of the server share: who may see them, and how refusals look."""

from __future__ import annotations

from typing import Final

import flask

from keruta_agent.http.access import is_from_foreign_page
from keruta_agent.http.pages import page_setup
from keruta_agent.http.pages.forms import OPEN_VIEWS, add_forms
from keruta_agent.http.pages.visible import visible
from keruta_agent.http.problems import Problem

pages: Final = flask.Blueprint(
    "pages",
    __name__,
    template_folder="templates",
    static_folder="static",
    static_url_path="/static/pages",
)
add_forms(pages, "login.why")

#: Whoever is to log in needs these.
OPEN_ENDPOINTS: Final = frozenset(
    {"page_setup.static", "pages.static", *(f"pages.{view}" for view in OPEN_VIEWS)}
)


@pages.before_request
def _check_forms() -> None:
    if flask.request.method in ("GET", "HEAD", "OPTIONS"):
        return
    if is_from_foreign_page(flask.request):
        raise Problem(403, "FORBIDDEN", "pages of another site may not ask")
    page_setup.visitor().check_form(flask.request)


def confirmed() -> bool:
    """Return whether a person has said yes to what this request destroys."""
    return flask.request.form.get("confirmed") == "yes"


def ask_to_confirm(what: str, name: str, *, back: str) -> flask.Response:
    """Ask a person whether to do what they have asked for to the thing of this name."""
    text = page_setup.text()
    return page_setup.page(
        "confirm.html",
        question=text(f"confirm.{what}", name=visible(name)),
        consequence=text(f"confirm.{what}.then"),
        answer=text(f"confirm.{what}.yes"),
        back=back,
    )
