"""Routes that a server may lack: asked once, remembered, distinguished from an unknown task."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from keruta_agent.agent.api.capabilities import Capabilities
from keruta_agent.core import errors

#: What servers answer for a route that they lack, besides 404.
MISSING_ROUTE_STATUSES = frozenset({405, 415, 500, 501})

_Answer = TypeVar("_Answer")


def no_owner() -> None:
    """Stand in for the owner where a route has none: its 404 means a missing route."""


class OptionalRoutes:
    """The routes of one server that may be missing."""

    def __init__(self, capabilities: Capabilities) -> None:
        self.capabilities = capabilities

    def call(
        self,
        feature: str,
        send: Callable[[], _Answer],
        *,
        owner: Callable[[], object] | None = None,
    ) -> _Answer:
        """Send a request unless the server is known to lack the feature.

        ``owner`` reads the resource that the route hangs on: after a 404 it tells a missing route
        (the owner is there) from a missing owner (it raises ``ApiNotFound``). Without it a 404 is
        about the resource.

        Raises:
            ApiUnsupported: the server lacks the route, now or as learned before.
        """
        if self.capabilities.lacks(feature):
            raise errors.ApiUnsupported(f"The server has no {feature}")
        try:
            answer = send()
        except errors.ApiError as exc:
            answer = self._sent_again(feature, send, owner, exc)
        self.capabilities.learn_present(feature)
        return answer

    def _sent_again(
        self,
        feature: str,
        send: Callable[[], _Answer],
        owner: Callable[[], object] | None,
        exc: errors.ApiError,
    ) -> _Answer:
        """Send once more after a 500 that need not mean a missing route, else raises.

        Taken for one, a moment's failure of the server would cost an artifact its place there.
        """
        if self._is_doubtful(feature, exc) and owner is not None and owner is not no_owner:
            owner()  # a server that is broken as a whole fails here, too
            try:
                return send()
            except errors.ApiError as again:
                exc = again
        if not self.is_missing(feature, exc, owner):
            raise exc
        self.capabilities.learn_missing(feature)
        raise errors.ApiUnsupported(f"The server has no {feature}", status=exc.status) from exc

    def _is_doubtful(self, feature: str, exc: errors.ApiError) -> bool:
        return exc.status == 500 and not self.capabilities.has(feature)

    def is_missing(
        self, feature: str, exc: errors.ApiError, owner: Callable[[], object] | None
    ) -> bool:
        """Return whether an error means that the server lacks the route.

        A route that was seen working is there: its 404 and 500 mean what they say.

        Raises:
            ApiError: the owner cannot be read, so it stays unknown.
        """
        if self.capabilities.has(feature):
            return False
        if isinstance(exc, errors.ApiUnsupported):
            return True
        if exc.status in MISSING_ROUTE_STATUSES:
            return True
        if exc.status != 404 or owner is None:
            return False
        owner()
        return True
