"""The daemon's routes: a view gets the services, what was sent, and the path's values."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, Final

import flask
from marshmallow import Schema

from keruta_agent.agent.control.http.services import Services
from keruta_agent.core import errors
from keruta_agent.http import routes
from keruta_agent.http.problems import Problem
from keruta_agent.http.routes import View, respond_with

#: Where the application keeps its services.
SERVICES_KEY: Final = "keruta-agent"

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


def current_services() -> Services:
    """Return the services of the application that serves this request."""
    services = flask.current_app.extensions[SERVICES_KEY]
    if not isinstance(services, Services):
        raise TypeError("the application has no services")
    return services


def problem_of(error: errors.KerutaError) -> Problem:
    """Return an error of the agent as a refusal."""
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
    ) -> Callable[[View], View]:
        """Declare a route; see ``declare``."""

        def decorate(view: View) -> View:
            @functools.wraps(view)
            def respond(*args: Any, **path_values: Any) -> flask.Response:
                try:
                    result = view(current_services(), *args, **path_values)
                except errors.KerutaError as exc:
                    raise problem_of(exc) from exc
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
            )
            return view

        return decorate
