"""The embedded keruta API, served on a port in threads of this process."""

from __future__ import annotations

import logging
from pathlib import Path

from keruta_agent.http.access import is_loopback
from keruta_agent.http.listener import Listener
from keruta_agent.server.application import create_application
from keruta_agent.server.resources import events
from keruta_agent.server.store.store import Store

logger = logging.getLogger(__name__)

#: Threads for requests that end soon; each event stream has one of its own on top.
REQUEST_THREADS = 16
#: Open connections; agents keep a few each. Half of the files that a process commonly may open.
_MOST_CONNECTIONS = 500
#: Seconds that a connection may stand still in the middle of a request, or idle between two.
_CONNECTION_TIMEOUT_S = 60
#: Seconds between looks for idle connections; a stop waits for the next look.
_LOOK_INTERVAL_S = 0.2


class Server:
    """The embedded keruta API."""

    def __init__(
        self,
        data_dir: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 8000,
        token: str | None = None,
        database_url: str | None = None,
    ) -> None:
        self._data_dir = data_dir
        self._host = host
        self._port = port
        self._token = token
        self._database_url = database_url
        self._store: Store | None = None
        self._listener: Listener | None = None

    def start(self) -> None:
        """Bind the port and serve in background threads; return when requests are taken.

        Raises:
            AgentStateError: the port or the data directory cannot be used.
            SettingsError: the database URL is invalid.
        """
        store = Store.open(self._data_dir, self._database_url)
        try:
            self._listener = self._bound(store)
        except BaseException:
            store.close()
            raise
        self._store = store
        self._listener.start()
        logger.info("listening on %s", self.url, extra={"action": "server_started"})

    def _bound(self, store: Store) -> Listener:
        app = create_application(store, token=self._token, loopback=is_loopback(self._host))
        return Listener(
            app,
            host=self._host,
            port=self._port,
            threads=REQUEST_THREADS + events.MAX_STREAMS,
            timeout_s=_CONNECTION_TIMEOUT_S,
            look_interval_s=_LOOK_INTERVAL_S,
            most_connections=_MOST_CONNECTIONS,
            slow_clients=REQUEST_THREADS // 2,
        )

    @property
    def url(self) -> str:
        """Where the server listens, such as ``http://127.0.0.1:43211``."""
        if self._listener is None:
            return f"http://{self._host}:{self._port}"
        return self._listener.url

    def stop(self) -> None:
        """End the streams, finishes the requests in flight and close the database."""
        if self._store is None or self._listener is None:
            return
        self._store.changes.close()
        self._listener.stop()
        self._store.close()
        self._store = None
        logger.info("stopped", extra={"action": "server_stopped"})
