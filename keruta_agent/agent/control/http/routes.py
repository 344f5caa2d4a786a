"""The daemon's routes: a view gets the services, what was sent, and the path's values."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, Final

from marshmallow import Schema
from starlette.responses import Response

from keruta_agent.agent.control.http.services import Services
from keruta_agent.core import errors
from keruta_agent.http import routes
from keruta_agent.http.bodies import SMALL_BODY
from keruta_agent.http.problems import Problem
from keruta_agent.http.request import Request
from keruta_agent.http.routes import View, respond_with, with_request

#: How errors of the agent are answered; the first that fits.
_STATUSES: Final = (
    (errors.NotFound, 404, "NOT_FOUND"),
    (errors.WrongState, 409, "WRONG_STATE"),
    (errors.NothingAsked, 409, "NOTHING_ASKED"),
    (errors.InputRefused, 409, "INPUT_REFUSED"),
    (errors.UsageError, 400, "INVALID_INPUT"),
    (errors.SettingsError, 409, "NOT_CONFIGURED"),
    (errors.AgentStateError, 503, "UNAVAILABLE"),
    (errors.ApiRefused, 409, "API_REFUSED"),
    (errors.ApiError, 502, "API_FAILED"),
)


def services_of(request: Request) -> Services:
    """Return the services of the application that serves a request."""
    services = request.app.context
    if not isinstance(services, Services):
        raise TypeError("the application has no services")
    return services


@contextlib.contextmanager
def errors_refused() -> Iterator[None]:
    """Raise errors of the agent as refusals.

    Raises:
        Problem: there was one.
    """
    try:
        yield
    except errors.KerutaError as exc:
        raise _problem_of(exc) from exc


def _problem_of(error: errors.KerutaError) -> Problem:
    for kind, status, code in _STATUSES:
        if isinstance(error, kind):
            return Problem(status, code, str(error))
    return Problem(409, "REFUSED", str(error))


class Resource(routes.Resource):
    """A group of routes."""

    def route(
        self,
        method: str,
        path: str,
        *,
        answer: Any = None,
        query: type[Schema] | None = None,
        body: type[Schema] | None = None,
        status: int = 200,
        also: tuple[int, Any] | None = None,
        doc: dict[str, Any] | None = None,
        largest: int = SMALL_BODY,
        waits: bool = False,
    ) -> Callable[[View], View]:
        """Declare a route; see ``declare``."""

        def decorate(view: View) -> View:
            called = with_request(view)

            @functools.wraps(view)
            def respond(request: Request, *args: Any, **path_values: Any) -> Response:
                with errors_refused():
                    result = called(request, services_of(request), *args, **path_values)
                return respond_with(result, status)

            self.declare(
                method,
                path,
                respond,
                answer=answer,
                query=query,
                body=body,
                status=status,
                also=also,
                doc=doc,
                largest=largest,
                waits=waits,
            )
            return view

        return decorate
