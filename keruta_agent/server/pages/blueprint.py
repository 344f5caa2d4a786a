"""What all pages of the server share: who may see them, and how refusals look."""

from __future__ import annotations

from typing import Any, Final
from urllib.parse import quote

import flask
from werkzeug.exceptions import HTTPException

from keruta_agent.web.access import is_from_foreign_page
from keruta_agent.web.pages import look
from keruta_agent.web.pages.forms import add_forms
from keruta_agent.web.problems import Problem

pages: Final = flask.Blueprint(
    "pages",
    __name__,
    template_folder="templates",
    static_folder="static",
    static_url_path="/static/pages",
)
add_forms(pages)

#: Whoever is to log in needs these.
OPEN_ENDPOINTS: Final = frozenset(
    {"look.static", "pages.static", "pages.log_in", "pages.switch_language"}
)


@pages.before_request
def _check_forms() -> None:
    if flask.request.method in ("GET", "HEAD", "OPTIONS"):
        return
    if is_from_foreign_page(flask.request):
        raise Problem(403, "FORBIDDEN", "pages of another site may not ask")
    look.visitor().check_form(flask.request)


@pages.errorhandler(Problem)
def _show_problem(problem: Problem) -> Any:
    if problem.status == 401:
        asked = flask.request.full_path if flask.request.method == "GET" else "/"
        return look.go_to(f"/login?next={quote(asked.removesuffix('?'), safe='')}")
    message = look.text_of(f"problem.{problem.code}") or problem.message
    return look.page("problem.html", problem.status, message=message)


@pages.errorhandler(HTTPException)
def _show_http_exception(error: HTTPException) -> Any:
    status = error.code or 500
    if status < 400:
        return error.get_response()
    return look.page("problem.html", status, message=error.description or error.name)


def confirmed() -> bool:
    """Tells whether a person has said yes to what this request destroys."""
    return flask.request.form.get("confirmed") == "yes"


def ask_to_confirm(what: str, name: str, *, back: str) -> flask.Response:
    """Asks a person whether to do what they have asked for to the thing of this name."""
    text = look.text()
    return look.page(
        "confirm.html",
        question=text(f"confirm.{what}", name=name),
        consequence=text(f"confirm.{what}.then"),
        answer=text(f"confirm.{what}.yes"),
        back=back,
    )
