"""Answers the forms that stand on every page: another language, and the way out."""

from __future__ import annotations

from typing import Final

import flask

from keruta_agent.web.pages import language, look

#: Seconds; a year.
_LANGUAGE_LIFETIME_S: Final = 365 * 24 * 3600


def add_forms(pages: flask.Blueprint) -> None:
    """Adds the routes of the forms to the pages of an application."""
    pages.add_url_rule("/language", view_func=switch_language, methods=["POST"])
    pages.add_url_rule("/logout", view_func=log_out, methods=["POST"])


def switch_language() -> flask.Response:
    """Remembers the language that a person has chosen."""
    response = look.go_to(look.own_address(flask.request.form.get("next", "/")))
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
    """Makes the browser forget its login."""
    response = look.go_to("/login")
    look.logins().welcome(known=False).remember(flask.request, response)
    return response
