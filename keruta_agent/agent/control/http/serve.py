"""The server of the daemon's HTTP API, in threads of the daemon."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from keruta_agent.agent.control.control import Control
from keruta_agent.agent.control.http import address, events
from keruta_agent.agent.control.http.access import Access
from keruta_agent.agent.control.http.application import create_application
from keruta_agent.agent.control.http.services import Services
from keruta_agent.agent.control.http.token import make_token
from keruta_agent.core.settings.schema import Settings
from keruta_agent.http.listener import Application, Listener

logger = logging.getLogger(__name__)

#: Threads for requests that end soon; each event stream has one of its own on top.
REQUEST_THREADS: Final = 8
MOST_CONNECTIONS: Final = 100
#: Seconds that a connection may stand still in the middle of a request, or idle between two.
CONNECTION_TIMEOUT_S: Final = 10
#: Seconds between looks for idle connections; a stop waits for the next look.
LOOK_INTERVAL_S: Final = 0.5


class HttpDoor:
    """The daemon's HTTP API."""

    def __init__(self, settings: Settings) -> None:
        """Take the port and make up a token if there is none; answer nobody before ``start``.

        Raises:
            SettingsError: it is not to listen there.
            AgentStateError: it cannot listen there.
        """
        self._settings = settings
        host = address.listening_address(settings)
        self._access = Access(settings, make_token(settings))
        self._services: Services | None = None
        self._application: Application | None = None
        self._listener = Listener(
            self._answer,
            host=host,
            port=settings.daemon_port,
            threads=REQUEST_THREADS + events.MOST_STREAMS,
            timeout_s=CONNECTION_TIMEOUT_S,
            look_interval_s=LOOK_INTERVAL_S,
            most_connections=MOST_CONNECTIONS,
            slow_clients=REQUEST_THREADS // 2,
        )

    @property
    def url(self) -> str:
        """Where it listens."""
        return self._listener.url

    def start(
        self,
        control: Control,
        hindrances: Callable[[], Mapping[str, str]],
    ) -> None:
        """Begin to answer for an agent, and publish the address.

        Args:
            control: of the agent that is served.
            hindrances: returns what keeps it from working.

        Raises:
            AgentStateError: the address cannot be published.
        """
        services = Services.of(control, hindrances)
        self._services = services
        self._application = create_application(services, self._access)
        self._listener.start()
        address.publish(self._settings.base_dir, self.url)
        logger.info(
            "HTTP API listening on %s", self.url, extra={"action": "http_started", "url": self.url}
        )

    def stop(self) -> None:
        """End the streams, finishes the requests in flight and frees the port."""
        address.withdraw(self._settings.base_dir)
        if self._services is not None:
            self._services.stopping.set()
        self._listener.stop()

    def _answer(self, environ: Any, start_response: Any) -> Iterable[bytes]:
        if self._application is None:
            raise RuntimeError("nobody is answered before the start")
        return self._application(environ, start_response)
