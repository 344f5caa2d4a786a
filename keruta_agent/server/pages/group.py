"""The group that all pages of the server belong to, and how they ask before they destroy."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from starlette.responses import Response

from keruta_agent.http.pages import page_setup
from keruta_agent.http.pages.forms import add_forms
from keruta_agent.http.pages.page_setup import Pages
from keruta_agent.http.pages.visible import visible
from keruta_agent.http.request import Request

_HERE: Final = Path(__file__).parent

pages: Final = Pages("pages", templates=_HERE / "templates", static=_HERE / "static")
add_forms(pages, "login.why")


def confirmed(request: Request) -> bool:
    """Return whether a person has said yes to what this request destroys."""
    return request.fields.get("confirmed") == "yes"


def ask_to_confirm(request: Request, what: str, name: str, *, back: str) -> Response:
    """Ask a person whether to do what they have asked for to the thing of this name."""
    text = page_setup.text(request)
    return page_setup.page(
        request,
        "confirm.html",
        question=text(f"confirm.{what}", name=visible(name)),
        consequence=text(f"confirm.{what}.then"),
        answer=text(f"confirm.{what}.yes"),
        back=back,
    )
