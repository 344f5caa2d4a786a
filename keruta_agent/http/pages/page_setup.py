"""The set-up that all pages share: templates, static files, texts, safe headers."""

from __future__ import annotations

import datetime
import json
import time
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import quote, urlsplit

import flask

from keruta_agent.http.pages import language
from keruta_agent.http.pages.logins import Logins, Visitor
from keruta_agent.http.pages.visible import size, visible
from keruta_agent.http.problems import Problem

#: Load and run the own files only; forbid frames.
HEADERS: Final = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:;"
        " connect-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # "no-referrer" would also hide the origin of our own forms.
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

LOGINS_KEY: Final = "keruta-logins"
_PAGES_KEY: Final = "keruta-pages"
#: Texts with these beginnings go to the scripts of the page.
_SCRIPT_TEXTS: Final = ("js.", "status.", "session.")


def install(app: flask.Flask, cookies: Logins, pages: flask.Blueprint) -> None:
    """Add pages to an application, with what they need."""
    app.extensions[LOGINS_KEY] = cookies
    app.extensions[_PAGES_KEY] = pages.name
    shared = flask.Blueprint(
        "page_setup",
        __name__,
        template_folder="templates",
        static_folder="static",
        static_url_path="/static",
    )
    app.register_blueprint(shared)
    app.register_blueprint(pages)
    app.jinja_env.trim_blocks = True
    app.jinja_env.lstrip_blocks = True
    app.jinja_env.filters.update(visible=visible, size=size)
    app.context_processor(_page_values)


def is_installed() -> bool:
    """Return whether this application has pages at all."""
    return LOGINS_KEY in flask.current_app.extensions


def logins() -> Logins:
    """Return the logins of this application."""
    found: Logins = flask.current_app.extensions[LOGINS_KEY]
    return found


def visitor() -> Visitor:
    """Return the visitor that sent this request."""
    if "visitor" not in flask.g:
        flask.g.visitor = logins().visitor(flask.request)
    found: Visitor = flask.g.visitor
    return found


def page(template: str, status: int = 200, **values: Any) -> flask.Response:
    """Return a page in the visitor's language."""
    response = flask.Response(
        flask.render_template(template, **values), status, content_type="text/html; charset=utf-8"
    )
    response.headers.update(HEADERS)
    response.headers["Content-Language"] = language.chosen_language(flask.request)
    response.headers["Vary"] = "Accept-Language, Cookie"
    visitor().remember(flask.request, response)
    return response


def text() -> Callable[..., str]:
    """Return what gives texts in the visitor's language by their keys."""
    name = language.chosen_language(flask.request)

    def translated(key: str, **values: object) -> str:
        return language.translate(name, key, **values)

    return translated


def wants_page(request: flask.Request) -> bool:
    """Return whether a person in a browser is to be answered, and no program."""
    if not is_installed():
        return False
    wanted = request.accept_mimetypes.best_match(["application/json", "text/html"])
    return wanted == "text/html" or request.blueprint == flask.current_app.extensions[_PAGES_KEY]


def problem_page(problem: Problem) -> flask.Response:
    """Return a refusal as a page; without a login, redirect to the login and back."""
    request = flask.request
    if problem.status == 401:
        asked = request.full_path if request.method == "GET" else "/"
        return go_to(f"/login?next={quote(asked.removesuffix('?'), safe='')}")
    texts = language.catalogue(language.chosen_language(request))
    message = texts.get(f"problem.{problem.code}", problem.message)
    response = page("problem.html", problem.status, message=message)
    response.headers.update(problem.headers)
    return response


def go_to(address: str) -> flask.Response:
    """Return an answer that leads a browser to another page, which it then gets."""
    response = flask.Response(status=303)
    response.headers.update({"Location": address, "Cache-Control": "no-store"})
    return response


def own_address(address: str) -> str:
    """Return an address if it leads to an own page, and the first page's otherwise."""
    try:
        parts = urlsplit(address)
    except ValueError:
        return "/"
    is_own = not parts.scheme and not parts.netloc and address.startswith("/")
    # Browsers take a backslash for a slash, and drop control characters.
    is_plain = "\\" not in address and address.isprintable() and not address.startswith("//")
    return address if is_own and is_plain else "/"


def _page_values() -> dict[str, Any]:
    name = language.chosen_language(flask.request)
    texts = {
        key: value
        for key, value in language.catalogue(name).items()
        if key.startswith(_SCRIPT_TEXTS)
    }
    done = flask.request.args.get("done", "")
    return {
        "t": text(),
        "language": name,
        "languages": language.LANGUAGES,
        "script_texts": json.dumps(texts, ensure_ascii=False),
        "form_token": visitor().form_token,
        "visitor": visitor(),
        "logins": logins(),
        "done": language.catalogue(name).get(f"done.{done}", ""),
        "here": _here(flask.request),
        "moment": _moment,
        "now": round(time.time() * 1000),
    }


def _here(request: flask.Request) -> str:
    """Return where a visitor comes back to: what answers a form cannot be asked for again."""
    if request.method == "GET":
        return request.full_path.removesuffix("?")
    return urlsplit(request.referrer or "/").path or "/"


def _moment(moment: datetime.datetime) -> str:
    """Return a moment for browsers without scripts; the others show it in their zone."""
    return moment.astimezone(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
