"""An HTTP server on one address, in a thread of this process.

uvicorn runs the event loop and speaks HTTP. What is done here: the address is taken before the
thread starts, so that errors meet the caller; connections are accepted one by one, so that they
are counted, and handshakes of TLS with them; and a stop ends within its time, whoever does not.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any, Final

import uvicorn
from starlette.types import ASGIApp

from keruta_agent.core import errors
from keruta_agent.http.serving import listening
from keruta_agent.http.serving.connections import Connections
from keruta_agent.http.serving.limits import Limits
from keruta_agent.http.serving.protocol import HttpProtocol
from keruta_agent.http.serving.tls import Tls

logger = logging.getLogger(__name__)

#: Seconds for requests in flight when the server stops.
STOP_TIMEOUT_S: Final = 1.5
#: Seconds beyond the stop's own time for tasks that were cancelled, and for the thread's end.
_CANCEL_TIMEOUT_S: Final = 0.5
_THREAD_END_S: Final = 2.0
#: Seconds for the request of a client that was connected when the stop came: it must not be lost.
_FIRST_REQUEST_S: Final = 0.25
#: Seconds between looks whether the last request has ended.
_LOOK_S: Final = 0.01
#: Seconds until the next try, when no connection can be taken.
_ACCEPT_PAUSE_S: Final = 0.1
_CLOSE: Final = (b"connection", b"close")
_OUT_OF_FILES: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class Host:
    """The server of an ASGI application on one address."""

    def __init__(
        self,
        application: ASGIApp,
        *,
        host: str,
        port: int,
        limits: Limits | None = None,
        stop_timeout_s: float = STOP_TIMEOUT_S,
        tls: Tls | None = None,
    ) -> None:
        """Bind the address; nobody is answered before ``start``.

        Args:
            application: what is served. If it has a ``begin_stop``, that is called in the event
                loop before the stop, so that its streams end.
            host: address or name to listen on.
            port: 0 takes a free one.
            limits: what clients may cost.
            stop_timeout_s: for requests in flight when the server stops.
            tls: certificate and key; without them it speaks plain HTTP.

        Raises:
            AgentStateError: the address or the certificate cannot be used.
        """
        self._host = host
        self._tls = tls
        context = tls.context() if tls is not None else None
        limits = limits or Limits()
        self._socket = listening.listen(host, port, limits.unread_timeout_s)
        self._port = int(self._socket.getsockname()[1])
        self._server = _Server(application, self._socket, limits, stop_timeout_s, context)
        self._stop_timeout_s = stop_timeout_s
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="http", daemon=True)

    @property
    def port(self) -> int:
        """The port, also when any was asked for."""
        return self._port

    @property
    def url(self) -> str:
        """Where it listens, such as ``http://127.0.0.1:43211``."""
        scheme = "http" if self._tls is None else "https"
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{scheme}://{host}:{self.port}"

    def start(self) -> None:
        """Begin to answer; return when requests are taken.

        Raises:
            AgentStateError: the server cannot be started.
        """
        self._thread.start()
        self._server.ready.wait()
        if self._failure is not None:
            raise errors.AgentStateError(
                f"cannot answer on {self.url}: {self._failure}",
                advice="The log says where this failed",
            )

    def begin_drain(self) -> None:
        """Go on answering, but end connections with their answers, so that clients go elsewhere."""
        self._server.call_soon(self._server.begin_drain)

    def stop(self) -> None:
        """Finish the requests in flight, or cut them off, and free the address."""
        if self._thread.ident is None:
            self._socket.close()
            return
        self._server.ask_to_stop()
        self._thread.join(self._stop_timeout_s + _CANCEL_TIMEOUT_S + _THREAD_END_S)
        if self._thread.is_alive():
            logger.error(
                "%s has not stopped in time; its application holds up the event loop",
                self.url,
                extra={"action": "server_connection"},
            )

    def reload_tls(self) -> None:
        """Read certificate and key anew, for connections from now on.

        Raises:
            AgentStateError: they cannot be used; those read before stay in use.
        """
        if self._tls is not None:
            self._server.tls_context = self._tls.context()

    def _run(self) -> None:
        try:
            self._server.run()
        # uvicorn reports some failures as SystemExit, which a thread would end with in silence.
        except BaseException as exc:
            self._failure = exc
            logger.critical(
                "the server on %s has failed",
                self.url,
                exc_info=exc,
                extra={"action": "server_failed"},
            )
        finally:
            self._socket.close()
            self._server.ready.set()


class _Server(uvicorn.Server):
    """uvicorn's server with connections that are counted, and an end that does not wait."""

    def __init__(
        self,
        application: ASGIApp,
        listening_socket: socket.socket,
        limits: Limits,
        stop_timeout_s: float,
        tls_context: ssl.SSLContext | None,
    ) -> None:
        # Named is all that uvicorn would choose by what is installed or by the environment.
        super().__init__(
            uvicorn.Config(
                application,
                loop="asyncio",
                http=HttpProtocol,
                ws="none",
                lifespan="off",
                interface="asgi3",
                workers=1,
                log_config=None,
                log_level="warning",
                access_log=False,
                proxy_headers=False,
                server_header=False,
            )
        )
        self.tls_context = tls_context
        self.ready = threading.Event()
        self._application = application
        self._listening = listening_socket
        self._limits = limits
        self._stop_timeout_s = stop_timeout_s
        self._all = Connections(limits.connections)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()

    def ask_to_stop(self) -> None:
        """Tell the application and the server, from another thread."""
        begin_stop: Callable[[], object] | None = getattr(self._application, "begin_stop", None)
        if begin_stop is not None:
            self.call_soon(begin_stop)
        self.call_soon(self._stopping.set)

    def call_soon(self, work: Callable[[], object]) -> None:
        """Do something in the loop, from another thread."""
        # The loop is closed where the server has failed.
        with contextlib.suppress(RuntimeError):
            if self._loop is not None:
                self._loop.call_soon_threadsafe(work)

    def begin_drain(self) -> None:
        """Have each answer from now on end its connection."""
        if _CLOSE in self.config.encoded_headers:
            return
        self.config.encoded_headers = [*self.config.encoded_headers, _CLOSE]
        # Those of the last tick are in use until the next one.
        self.server_state.default_headers = [*self.server_state.default_headers, _CLOSE]

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Take connections."""
        self._loop = asyncio.get_running_loop()
        await self.on_tick(0)
        self._listening.setblocking(False)
        self._take_connections()
        self.started = True
        self.ready.set()

    async def main_loop(self) -> None:
        """Keep time until the stop."""
        while not self._stopping.is_set():
            await self.on_tick(0)
            self._all.check(self._now())
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._limits.check_interval_s):
                    await self._stopping.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Take no more connections, and end those that are open."""
        # Not a task that is cancelled: it could have taken a connection that nobody would close.
        asyncio.get_running_loop().remove_reader(self._listening)
        # Whom the kernel has connected has sent a request, perhaps, that would be reset.
        listening.take_no_more(self._listening)
        while not self._all.is_full() and self._accept():
            pass
        self._listening.close()
        until = self._now() + self._stop_timeout_s
        self.begin_drain()
        await self._await_first_requests()
        for protocol in list(self.server_state.connections):
            protocol.shutdown()
        while self._is_in_use() and self._now() < until:
            await asyncio.sleep(_LOOK_S)
        for connection in self._all.all():
            connection.abort()
        # What waits for its client sees the end now; what does not is cancelled.
        await asyncio.sleep(_LOOK_S)
        tasks = list(self.server_state.tasks)
        for task in tasks:
            task.cancel()
        if tasks:
            logger.warning(
                "%d requests were cut off at the stop",
                len(tasks),
                extra={"action": "server_connection"},
            )
            await asyncio.wait(tasks, timeout=_CANCEL_TIMEOUT_S)

    async def _await_first_requests(self) -> None:
        """Wait a moment for connections on which no request has come yet."""
        until = self._now() + min(_FIRST_REQUEST_S, self._stop_timeout_s)
        while self._now() < until and self._all.any_new():
            await asyncio.sleep(_LOOK_S)

    def _is_in_use(self) -> bool:
        return bool(self.server_state.connections or self.server_state.tasks)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _take_connections(self) -> None:
        if not self._stopping.is_set():
            asyncio.get_running_loop().add_reader(self._listening, self._accept)

    def _accept(self) -> bool:
        """Take one connection, if there is one; a flood of them leaves time for requests."""
        try:
            connected, address = self._listening.accept()
        except BlockingIOError:
            return False
        except OSError as exc:
            self._recover(exc)
            return False
        if self._all.is_full() and not self._all.make_room():
            connected.close()
        else:
            connected.setblocking(False)
            self._take(connected, address)
        return True

    def _recover(self, exc: OSError) -> None:
        """Go on after a connection that could not be taken; most have only ended too early."""
        if exc.errno not in _OUT_OF_FILES:
            return
        if not self._all.make_room():
            logger.error(
                "no connection can be taken: %s",
                exc.strerror,
                extra={"action": "server_connection"},
            )
        # It would be called again at once, and again.
        loop = asyncio.get_running_loop()
        loop.remove_reader(self._listening)
        loop.call_later(_ACCEPT_PAUSE_S, self._take_connections)

    def _take(self, connected: socket.socket, address: Any) -> None:
        loop = asyncio.get_running_loop()
        connection = HttpProtocol(
            self.config,
            self.server_state,
            {},
            loop,
            address=address,
            connections=self._all,
            limits=self._limits,
        )
        self._all.add(connection)
        connection.connecting = loop.create_task(self._connect(connection, connected))

        def give_up(connecting: asyncio.Task[None]) -> None:
            # Not in the task: one that is cancelled before its first step runs no clean-up.
            if connection.transport is None:
                self._all.discard(connection)
                connected.close()

        connection.connecting.add_done_callback(give_up)

    async def _connect(self, connection: HttpProtocol, connected: socket.socket) -> None:
        """Connect the transport, after a handshake where there is TLS."""
        loop = asyncio.get_running_loop()
        times: dict[str, float] = {}
        if self.tls_context is not None:
            times["ssl_handshake_timeout"] = self._limits.header_timeout_s
            times["ssl_shutdown_timeout"] = self._limits.linger_s
        try:
            await loop.connect_accepted_socket(
                lambda: connection, connected, ssl=self.tls_context, **times
            )
        except OSError as exc:  # the client has left, or speaks no TLS
            logger.debug("a connection could not be taken: %s", exc)
