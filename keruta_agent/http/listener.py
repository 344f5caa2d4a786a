"""An HTTP server on one address, in threads of this process."""

from __future__ import annotations

import contextlib
import errno
import io
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterable
from typing import Any, Final

from cheroot import wsgi

from keruta_agent.core import errors
from keruta_agent.http import arrivals, chunks, drain, streams

logger = logging.getLogger(__name__)

#: Agents send many small requests at once; a short queue would delay them by a whole second.
LISTEN_QUEUE: Final = 128
#: Seconds for requests in flight when the server stops.
STOP_TIMEOUT_S: Final = 1.5

Application = Callable[..., Iterable[bytes]]


class Listener:
    """The server of a WSGI application on one address."""

    def __init__(
        self,
        application: Application,
        *,
        host: str,
        port: int,
        threads: int,
        timeout_s: int,
        look_interval_s: float,
        most_connections: int,
        slow_clients: int,
    ) -> None:
        """Bind the address; nobody is answered before ``start``.

        Args:
            application: what is served.
            host: address or name to listen on.
            port: 0 takes a free one.
            threads: requests that can be answered at once.
            timeout_s: how long a connection may stand still in the middle of a request, or idle
                between two.
            look_interval_s: time between looks for idle connections; a stop waits for the next.
            most_connections: above which the one that has stood still the longest is closed:
                each costs the process a file.
            slow_clients: how many of the threads may read bodies at once that are too large to
                wait for, and how many may stand before clients that do not read.

        Raises:
            AgentStateError: the address cannot be used.
        """
        self._host = host
        self._port = port
        self._http: Any = _HttpServer(
            (host, port),
            application,
            numthreads=threads,
            request_queue_size=LISTEN_QUEUE,
            timeout=timeout_s,
        )
        self._http.gateway = _Gateway
        self._http.shutdown_timeout = STOP_TIMEOUT_S
        self._http.expiration_interval = look_interval_s
        self._http.max_request_header_size = arrivals.MAX_HEADER_BYTES
        self._http.most_connections = most_connections
        self._http.open_connections = set()
        self._http.slow_clients = slow_clients
        self._http.large = arrivals.LargeBodies(slow_clients, self._http.requests.put)
        self._http.requests._force_close = _cut_off
        try:
            self._http.prepare()
        except (OSError, OverflowError) as exc:
            raise self._cannot_listen(exc) from exc
        self._thread = threading.Thread(target=self._http.serve, name="http", daemon=True)

    @property
    def port(self) -> int:
        """The port, also when any was asked for."""
        return int(self._http.bind_addr[1])

    @property
    def url(self) -> str:
        """Where it listens, such as ``http://127.0.0.1:43211``."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"http://{host}:{self.port}"

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Finish the requests in flight, or cut them off, and free the address."""
        self._http.stop()
        if self._thread.ident is not None:
            self._thread.join()

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


def _cut_off(connection: Any) -> None:
    """End a connection at a stop, also one that nobody reads from.

    cheroot itself would wait until its thread gives up writing.
    """
    if connection is not None:
        with contextlib.suppress(OSError):
            connection.socket.shutdown(socket.SHUT_RDWR)


class _Gateway(wsgi.Gateway_10):
    """A gateway that can end a connection and see its end, and reads chunked bodies itself."""

    def get_environ(self) -> dict[str, Any]:  # type: ignore[override]
        if self.req.chunked_read:
            self.req.rfile = io.BufferedReader(chunks.Chunks(self.req.conn.rfile))
        environ: dict[str, Any] = super().get_environ()  # type: ignore[no-untyped-call]
        environ[drain.CLOSE_KEY] = self._close_connection
        environ[streams.LEFT_KEY] = self.req.conn.is_left
        return environ

    def _close_connection(self) -> None:
        self.req.close_connection = True


class _HttpServer(wsgi.Server):
    """A server that logs instead of writing to stderr, and leaks no socket of a port in use."""

    ConnectionClass = arrivals.Connection

    most_connections: int
    slow_clients: int
    open_connections: set[arrivals.Connection]
    large: arrivals.LargeBodies
    _connections: Any

    def prepare(self) -> None:
        super().prepare()
        self._connections.close()
        self._connections = arrivals.Connections(self)

    def process_conn(self, conn: arrivals.Connection) -> None:
        if conn.is_given_up:
            conn.close()
            return
        size = conn.look()
        if size > 0:
            self._connections.wait_for(conn, size)
            return
        conn.begin()
        if size == arrivals.LARGE:
            self.large.enter(conn)
        else:
            self.requests.put(conn)

    def put_conn(self, conn: arrivals.Connection) -> None:
        """Keep a connection for its next request, or close it where the server stops just now."""
        try:
            super().put_conn(conn)
        except ValueError:  # between its look and its act the selector was closed
            if self.ready:
                raise
            conn.close()

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
