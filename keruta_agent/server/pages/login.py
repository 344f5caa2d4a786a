"""Pages that let a person in with the server's token, out again, and switch the language."""

from __future__ import annotations

import flask

from keruta_agent.server.pages.blueprint import pages
from keruta_agent.web.pages import language, look

#: Seconds; a year.
_LANGUAGE_LIFETIME_S = 365 * 24 * 3600


@pages.get("/login", defaults={"wrong": False})
@pages.post("/login", defaults={"wrong": True})
def log_in(wrong: bool) -> flask.Response:
    """Asks for the token, and gives who knows it a cookie."""
    asked = look.own_address(flask.request.values.get("next", "/"))
    logins = look.logins()
    if look.visitor().welcome:
        return look.go_to(asked)
    if wrong and logins.fits(flask.request.form.get("token", "")):
        response = look.go_to(asked)
        # A new cookie: whoever planted the old one does not know this one.
        logins.welcome(known=True).remember(flask.request, response)
        return response
    return look.page("login.html", 403 if wrong else 200, wrong=wrong, next=asked)


@pages.post("/logout")
def log_out() -> flask.Response:
    """Takes the cookie away."""
    response = look.go_to("/login")
    look.logins().welcome(known=False).remember(flask.request, response)
    return response


@pages.post("/language")
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
