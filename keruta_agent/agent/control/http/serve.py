"""The server of the daemon's HTTP API, in threads of the daemon."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Final

from starlette.types import Receive, Scope, Send

from keruta_agent.agent.control.control import Control
from keruta_agent.agent.control.http import address
from keruta_agent.agent.control.http.access import Access
from keruta_agent.agent.control.http.application import create_application
from keruta_agent.agent.control.http.services import Services
from keruta_agent.agent.control.http.token import make_token
from keruta_agent.agent.control.http.watch import MOST_STREAMS
from keruta_agent.core.settings.schema import Settings
from keruta_agent.http.application import Application
from keruta_agent.http.serving.host import Host
from keruta_agent.http.serving.limits import Limits

logger = logging.getLogger(__name__)

#: One for each stream, and as many as before beside them.
MOST_CONNECTIONS: Final = MOST_STREAMS + 100


class HttpApi:
    """The daemon's HTTP API; as an ASGI application the one that is made at the start."""

    def __init__(self, settings: Settings) -> None:
        """Take the port and make up a token if there is none; answer nobody before ``start``.

        Raises:
            SettingsError: it is not to listen there.
            AgentStateError: it cannot listen there.
        """
        self._settings = settings
        host = address.listening_address(settings)
        self._access = Access(settings, make_token(settings))
        self._application: Application | None = None
        self._host = Host(
            self,
            host=host,
            port=settings.daemon_port,
            limits=Limits(connections=MOST_CONNECTIONS),
        )

    @property
    def url(self) -> str:
        """Where it listens."""
        return self._host.url

    def start(self, control: Control, hindrances: Callable[[], Mapping[str, str]]) -> None:
        """Begin to answer for an agent, and publish the address.

        Args:
            control: of the agent that is served.
            hindrances: returns what keeps it from working.

        Raises:
            AgentStateError: the address cannot be published.
        """
        self._application = create_application(Services.of(control, hindrances), self._access)
        self._host.start()
        address.publish(self._settings.base_dir, self.url)
        logger.info(
            "HTTP API listening on %s", self.url, extra={"action": "http_started", "url": self.url}
        )

    def begin_stop(self) -> None:
        """End the streams; called on the event loop."""
        if self._application is not None:
            self._application.begin_stop()

    def stop(self) -> None:
        """End the streams, finish the requests in flight and free the port."""
        address.withdraw(self._settings.base_dir)
        self._host.stop()
        if self._application is not None:
            self._application.close()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._application is None:
            raise RuntimeError("nobody is answered before the start")
        await self._application(scope, receive, send)
