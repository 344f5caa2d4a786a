"""The page that lets a person in with the server's token."""

from __future__ import annotations

import flask

from keruta_agent.server.pages.blueprint import pages
from keruta_agent.web.pages import look


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
