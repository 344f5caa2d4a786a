"""The set-up that all pages share: templates, static files, texts, safe headers.

Addresses in the code are below the prefix under which a proxy serves the application; templates
and redirects add it.
"""

from __future__ import annotations

import datetime
import functools
import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote, urlsplit

from starlette.responses import Response

from keruta_agent.http.access import is_from_foreign_page
from keruta_agent.http.application import Application
from keruta_agent.http.bodies import SMALL_BODY
from keruta_agent.http.pages import language
from keruta_agent.http.pages.logins import Logins, Visitor
from keruta_agent.http.pages.static_files import StaticFiles
from keruta_agent.http.pages.visible import size, visible
from keruta_agent.http.problems import Problem
from keruta_agent.http.request import Request
from keruta_agent.http.routes import Resource, Route

if TYPE_CHECKING:
    import jinja2

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

#: Shows a page or does what its form asks for: called with the request and the path's values.
PageView = Callable[..., Response]

_KIT: Final = Path(__file__).parent
#: In the scope: the visitor that the request is from.
_VISITOR_KEY: Final = "keruta.visitor"
#: Texts with these beginnings go to the scripts of the page.
_SCRIPT_TEXTS: Final = ("js.", "status.", "session.")
#: Marks of an address that stand for themselves.
_ADDRESS_MARKS: Final = "/%:?#[]@!$&'()*+,;=~-._"


class Pages(Resource):
    """A group of pages: routes for people, which no OpenAPI document describes."""

    def __init__(self, name: str, *, templates: Path, static: Path | None = None) -> None:
        """Take the directories of templates and of static files, served as ``/static/NAME``."""
        super().__init__(name, "")
        self.templates = templates
        self.static = static
        #: Of the pages that whoever is to log in needs.
        self.open_paths: set[str] = set()

    def get(
        self, path: str, *, is_open: bool = False, waits: bool = False
    ) -> Callable[[PageView], PageView]:
        """Declare a page; ``is_open`` shows it to those who have not logged in, too.

        ``waits`` says that the view may wait for long.
        """

        def decorate(view: PageView) -> PageView:
            self._declare("GET", path, view, SMALL_BODY, is_open=is_open, waits=waits)
            return view

        return decorate

    def post(
        self, path: str, *, largest: int = SMALL_BODY, is_open: bool = False
    ) -> Callable[[PageView], PageView]:
        """Declare what a form of ``largest`` bytes does; only own pages may send it."""

        def decorate(view: PageView) -> PageView:
            @functools.wraps(view)
            def respond(request: Request, **path_values: Any) -> Response:
                _check_form(request)
                return view(request, **path_values)

            self._declare("POST", path, respond, largest, is_open=is_open)
            return view

        return decorate

    def _declare(
        self,
        method: str,
        path: str,
        respond: PageView,
        largest: int,
        *,
        is_open: bool,
        waits: bool = False,
    ) -> None:
        if is_open:
            self.open_paths.add(path)
        self.routes.append(
            Route(
                method=method,
                path=path,
                name=getattr(respond, "__name__", path),
                group=self.name,
                respond=respond,
                largest=largest,
                waits=waits,
            )
        )


class PageSetup:
    """The pages of one application."""

    def __init__(
        self,
        logins: Logins,
        *groups: Pages,
        values: Callable[[Request], Mapping[str, Any]] | None = None,
    ) -> None:
        """Take the logins of visitors, the pages, and what more their templates need."""
        self.logins = logins
        self._own_values = values
        self._groups = groups
        self._names = frozenset(group.name for group in groups)
        own = {f"/static/{group.name}": group.static for group in groups if group.static}
        self._static = StaticFiles({"/static": _KIT / "static", **own})
        self._open_paths = frozenset(route.path for route in self._static.routes).union(
            *(group.open_paths for group in groups)
        )

    @functools.cached_property
    def _templates(self) -> jinja2.Environment:
        # Not before somebody looks at a page: most daemons never show one.
        import jinja2

        directories = [*(group.templates for group in self._groups), _KIT / "templates"]
        templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(directories),
            autoescape=True,
            auto_reload=False,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        templates.filters.update(visible=visible, size=size)
        templates.globals["moment"] = _moment
        return templates

    def install(self, app: Application) -> None:
        """Serve the pages as a part of an application."""
        app.pages = self
        app.add(*self._groups, self._static)

    def is_open(self, request: Request) -> bool:
        """Return whether whoever is to log in needs what this request asks for."""
        return request.route is not None and request.route.path in self._open_paths

    def owns(self, request: Request) -> bool:
        """Return whether a request asks for one of the pages."""
        return request.route is not None and request.route.group in self._names

    def visitor(self, request: Request) -> Visitor:
        """Return the visitor that sent a request."""
        found: Visitor | None = request.scope.get(_VISITOR_KEY)
        if found is None:
            found = request.scope[_VISITOR_KEY] = self.logins.visitor(request)
        return found

    def page(self, request: Request, template: str, status: int = 200, **values: Any) -> Response:
        """Return a page in the visitor's language."""
        filled = self._templates.get_template(template).render(self._values(request) | values)
        response = Response(filled, status, HEADERS, "text/html")
        response.headers["Content-Language"] = language.chosen_language(request)
        response.headers["Vary"] = "Accept-Language, Cookie"
        self.visitor(request).remember(request, response)
        return response

    def wants_page(self, request: Request) -> bool:
        """Return whether a person in a browser is to be answered, and no program."""
        wanted = request.accepted("application/json", "text/html")
        return wanted == "text/html" or self.owns(request)

    def problem_page(self, request: Request, problem: Problem) -> Response:
        """Return a refusal as a page; without a login, redirect to the login and back."""
        if problem.status == 401:
            asked = request.full_path if request.method == "GET" else "/"
            return go_to(request, f"/login?next={quote(asked, safe='')}")
        texts = language.catalogue(language.chosen_language(request))
        message = texts.get(f"problem.{problem.code}", problem.message)
        response = self.page(request, "problem.html", problem.status, message=message)
        response.headers.update(problem.headers)
        return response

    def _values(self, request: Request) -> dict[str, Any]:
        name = language.chosen_language(request)
        texts = language.catalogue(name)
        for_scripts = {key: texts[key] for key in texts if key.startswith(_SCRIPT_TEXTS)}
        done = request.query_params.get("done", "")
        visitor = self.visitor(request)
        return {
            "t": text(request),
            "language": name,
            "languages": language.LANGUAGES,
            "script_texts": json.dumps(for_scripts, ensure_ascii=False),
            "form_token": visitor.form_token,
            "visitor": visitor,
            "logins": self.logins,
            "done": texts.get(f"done.{done}", ""),
            "base": request.prefix,
            "here": _here(request),
            "is_answer": request.method == "POST",
            "static": lambda file: request.prefix + self._static.path(file),
            "now": round(time.time() * 1000),
            **({} if self._own_values is None else self._own_values(request)),
        }


def setup_of(request: Request) -> PageSetup:
    """Return the set-up of the application that a request is for."""
    setup: PageSetup = request.app.pages
    return setup


def visitor(request: Request) -> Visitor:
    """Return the visitor that sent a request."""
    return setup_of(request).visitor(request)


def page(request: Request, template: str, status: int = 200, **values: Any) -> Response:
    """Return a page in the visitor's language."""
    return setup_of(request).page(request, template, status, **values)


def text(request: Request) -> Callable[..., str]:
    """Return what gives texts in the visitor's language by their keys."""
    return functools.partial(language.translate, language.chosen_language(request))


def go_to(request: Request, address: str) -> Response:
    """Return an answer that leads a browser to another page, which it then gets."""
    location = request.prefix + quote(address, safe=_ADDRESS_MARKS)
    return Response(status_code=303, headers={"Location": location, "Cache-Control": "no-store"})


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


def _check_form(request: Request) -> None:
    if is_from_foreign_page(request):
        raise Problem(403, "FORBIDDEN", "pages of another site may not ask")
    visitor(request).check_form(request)


def _here(request: Request) -> str:
    """Return where a visitor comes back to: what answers a form cannot be asked for again."""
    if request.method == "GET":
        return request.full_path
    try:
        came_from = urlsplit(request.headers.get("Referer", "")).path
    except ValueError:
        return "/"
    return own_address(came_from.removeprefix(request.prefix))


def _moment(moment: datetime.datetime) -> str:
    """Return a moment for browsers without scripts; the others show it in their zone."""
    return moment.astimezone(datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
