"""Runs the embedded keruta API on a port, in threads of this process."""

from __future__ import annotations

import errno
import logging
import os
import socket
import threading
from pathlib import Path
from typing import Any

from cheroot import wsgi

from keruta_agent import errors
from keruta_agent.server import drain, events
from keruta_agent.server.access import is_loopback
from keruta_agent.server.application import create_application
from keruta_agent.server.store import Store

logger = logging.getLogger(__name__)

#: Threads for requests that end soon; each event stream has one of its own on top.
REQUEST_THREADS = 16
#: Agents send many small requests at once; a short queue would delay them by a whole second.
_LISTEN_QUEUE = 128
#: Seconds that a connection may stand still in the middle of a request, or idle between two.
_CONNECTION_TIMEOUT_S = 60
#: Seconds for requests in flight when the server stops.
_STOP_TIMEOUT_S = 1.5
#: Seconds between looks for idle connections; a stop waits for the next look.
_LOOK_INTERVAL_S = 0.2
_MAX_HEADER_BYTES = 64 * 1024


class _Gateway(wsgi.Gateway_10):
    """Lets the application end a connection whose client still sends."""

    def get_environ(self) -> dict[str, Any]:  # type: ignore[override]
        environ: dict[str, Any] = super().get_environ()  # type: ignore[no-untyped-call]
        environ[drain.CLOSE_KEY] = self._close_connection
        return environ

    def _close_connection(self) -> None:
        self.req.close_connection = True


class _HttpServer(wsgi.Server):
    """Writes to the log instead of to stderr, and leaks no socket when its port is in use."""

    @staticmethod
    def bind_socket(socket_: socket.socket, bind_addr: Any) -> socket.socket:
        try:
            socket_.bind(bind_addr)
        except (OSError, OverflowError):
            socket_.close()
            raise
        return socket_

    def error_log(self, msg: str = "", level: int = logging.INFO, traceback: bool = False) -> None:
        logger.log(level, "%s", msg, exc_info=traceback, extra={"action": "server_connection"})


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
        self._http: Any = None
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Binds the port and serves in background threads; returns when requests are taken.

        Raises:
            AgentStateError: the port or the data directory cannot be used.
            SettingsError: the database URL makes no sense.
        """
        store = Store.open(self._data_dir, self._database_url)
        try:
            self._http = self._bound(store)
        except BaseException:
            store.close()
            raise
        self._store = store
        self._thread = threading.Thread(target=self._http.serve, name="server-http", daemon=True)
        self._thread.start()
        logger.info("listening on %s", self.url, extra={"action": "server_started"})

    def _bound(self, store: Store) -> Any:
        app = create_application(store, token=self._token, loopback=is_loopback(self._host))
        http = _HttpServer(
            (self._host, self._port),
            app,
            numthreads=REQUEST_THREADS + events.MAX_STREAMS,
            request_queue_size=_LISTEN_QUEUE,
            timeout=_CONNECTION_TIMEOUT_S,
        )
        http.gateway = _Gateway
        http.shutdown_timeout = _STOP_TIMEOUT_S
        http.expiration_interval = _LOOK_INTERVAL_S
        http.max_request_header_size = _MAX_HEADER_BYTES
        try:
            http.prepare()
        except (OSError, OverflowError) as exc:
            raise self._cannot_listen(exc) from exc
        return http

    def _cannot_listen(self, exc: Exception) -> errors.AgentStateError:
        where = f"{self._host} port {self._port}"
        # cheroot hides the error's number in its text.
        if os.strerror(errno.EADDRINUSE) in str(exc):
            return errors.AgentStateError(
                f"cannot listen on {where}: it is in use",
                advice="Stop the other program, or choose another port with --port",
            )
        return errors.AgentStateError(
            f"cannot listen on {where}: {exc}",
            advice="Choose another address with --host and --port",
        )

    @property
    def url(self) -> str:
        """Where the server listens, such as ``http://127.0.0.1:43211``."""
        port = self._port if self._http is None else self._http.bind_addr[1]
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{port}"

    def stop(self) -> None:
        """Ends the streams, finishes the requests in flight and closes the database."""
        if self._store is None or self._thread is None:
            return
        self._store.changes.close()
        self._http.stop()
        self._thread.join()
        self._store.close()
        self._store = self._thread = None
        logger.info("stopped", extra={"action": "server_stopped"})
