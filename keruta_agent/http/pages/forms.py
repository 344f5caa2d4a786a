"""The forms that all pages have: login with the token, logout, and language."""

from __future__ import annotations

import functools
from typing import Final

import flask

from keruta_agent.http.pages import language, page_setup

#: Views that whoever is to log in needs, without the blueprint's name.
OPEN_VIEWS: Final = ("log_in", "switch_language")
#: Seconds; a year.
_LANGUAGE_LIFETIME_S: Final = 365 * 24 * 3600


def add_forms(pages: flask.Blueprint, why: str) -> None:
    """Add their routes to the pages of an application.

    ``why`` is the key of the text that says which token is asked for.
    """
    log_in = functools.partial(_log_in, why)
    pages.add_url_rule("/login", "log_in", log_in, methods=["GET", "POST"])
    pages.add_url_rule("/language", view_func=switch_language, methods=["POST"])
    pages.add_url_rule("/logout", view_func=log_out, methods=["POST"])


def _log_in(why: str) -> flask.Response:
    """Ask for the token, and set a cookie for a visitor who knows it."""
    asked = page_setup.own_address(flask.request.values.get("next", "/"))
    logins = page_setup.logins()
    if page_setup.visitor().welcome:
        return page_setup.go_to(asked)
    is_try = flask.request.method == "POST"
    if is_try and logins.fits(flask.request.form.get("token", "")):
        response = page_setup.go_to(asked)
        # A new cookie: whoever planted the old one does not know this one.
        logins.welcome(known=True).remember(flask.request, response)
        return response
    return page_setup.page("login.html", 403 if is_try else 200, why=why, wrong=is_try, next=asked)


def switch_language() -> flask.Response:
    """Remember the language that a person has chosen."""
    response = page_setup.go_to(page_setup.own_address(flask.request.form.get("next", "/")))
    chosen = flask.request.form.get("language")
    if chosen in language.LANGUAGES:
        response.set_cookie(
            language.COOKIE,
            chosen,
            max_age=_LANGUAGE_LIFETIME_S,
            httponly=True,
            samesite="Strict",
            secure=flask.request.is_secure,
        )
    return response


def log_out() -> flask.Response:
    """End the login, and make the browser forget it."""
    page_setup.visitor().log_out()
    response = page_setup.go_to("/login")
    page_setup.logins().welcome(known=False).remember(flask.request, response)
    return response
