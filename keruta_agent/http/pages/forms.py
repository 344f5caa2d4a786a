"""The forms that all pages have: login with the token, logout, and language."""

from __future__ import annotations

from typing import Final

from starlette.responses import Response

from keruta_agent.http.pages import language, page_setup
from keruta_agent.http.pages.logins import set_cookie
from keruta_agent.http.pages.page_setup import Pages, own_address
from keruta_agent.http.request import Request

#: Bytes of a form that anybody may send.
_SMALL_FORM: Final = 64 * 1024
#: Seconds; a year.
_LANGUAGE_LIFETIME_S: Final = 365 * 24 * 3600


def add_forms(pages: Pages, why: str) -> None:
    """Add their routes to the pages of an application.

    ``why`` is the key of the text that says which token is asked for.
    """

    @pages.get("/login", is_open=True)
    def ask_for_token(request: Request) -> Response:
        asked = own_address(request.query_params.get("next", "/"))
        if page_setup.visitor(request).welcome:
            return page_setup.go_to(request, asked)
        return page_setup.page(request, "login.html", why=why, wrong=False, next=asked)

    @pages.post("/login", is_open=True, largest=_SMALL_FORM)
    def log_in(request: Request) -> Response:
        asked = own_address(request.fields.get("next", "/"))
        if page_setup.visitor(request).welcome:
            return page_setup.go_to(request, asked)
        logins, token = page_setup.setup_of(request).logins, request.fields.get("token", "")
        if not logins.fits(token, request.peer):
            return page_setup.page(request, "login.html", 403, why=why, wrong=True, next=asked)
        response = page_setup.go_to(request, asked)
        # A new cookie: whoever planted the old one does not know this one.
        logins.log_in(token).remember(request, response)
        return response

    pages.post("/language", is_open=True, largest=_SMALL_FORM)(switch_language)
    pages.post("/logout", largest=_SMALL_FORM)(log_out)


def switch_language(request: Request) -> Response:
    """Remember the language that a person has chosen."""
    response = page_setup.go_to(request, own_address(request.fields.get("next", "/")))
    chosen = request.fields.get("language")
    if chosen in language.LANGUAGES:
        set_cookie(request, response, language.COOKIE, chosen, lasts_s=_LANGUAGE_LIFETIME_S)
    return response


def log_out(request: Request) -> Response:
    """End the login, and make the browser forget it."""
    page_setup.visitor(request).log_out()
    response = page_setup.go_to(request, "/login")
    page_setup.setup_of(request).logins.welcome().remember(request, response)
    return response
