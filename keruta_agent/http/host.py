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
from keruta_agent.http.connections import Connections
from keruta_agent.http.limits import Limits
from keruta_agent.http.protocol import HttpProtocol
from keruta_agent.http.tls import Tls

logger = logging.getLogger(__name__)

#: Connections that the kernel keeps while the loop is busy: a thousand agents come back together.
LISTEN_QUEUE: Final = 1024
#: Seconds for requests in flight when the server stops.
STOP_TIMEOUT_S: Final = 1.5
#: Seconds beyond the stop's own time for tasks that were cancelled, and for the thread's end.
_CANCEL_TIMEOUT_S: Final = 0.5
_THREAD_END_S: Final = 2.0
#: Seconds between looks whether the last request has ended.
_LOOK_S: Final = 0.01
#: Seconds until the next try, when no connection can be taken.
_ACCEPT_PAUSE_S: Final = 0.1
#: Bytes that the kernel takes beyond what the client's window lets out; the rest counts as unread.
_NOT_SENT: Final = 128 * 1024
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
        self._socket = _listen(host, port, limits.unread_timeout_s)
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


def _listen(host: str, port: int, unread_timeout_s: float) -> socket.socket:
    try:
        # The port is not asked for: glibc takes 70000 for 4464.
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        return _bound(family, (address[0], port, *address[2:]), unread_timeout_s)
    except (OSError, OverflowError) as exc:
        raise _cannot_listen(f"{host} port {port}", exc) from exc


def _bound(family: int, address: Any, unread_timeout_s: float) -> socket.socket:
    # asyncio sends without delay only where the protocol is named; else each answer whose head and
    # body are two writes would wait 40 ms for the client's acknowledgement.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6 and address[0] == "::":
            # Every address means those of IPv4, too.
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        # Connections inherit both. What nobody takes ends also after the process has closed it,
        # or when its client has vanished without a word. Twice the time: the host resets first.
        listening.setsockopt(
            socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(2 * unread_timeout_s * 1000)
        )
        # Else the kernel alone keeps megabytes for each deaf client.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _NOT_SENT)
        listening.bind(address)
        listening.listen(LISTEN_QUEUE)
        listening.setblocking(False)
    except BaseException:
        listening.close()
        raise
    return listening


def _cannot_listen(where: str, exc: OSError | OverflowError) -> errors.AgentStateError:
    if isinstance(exc, OSError) and exc.errno == errno.EADDRINUSE:
        return errors.AgentStateError(
            f"cannot listen on {where}: it is in use",
            advice="Stop the other program, or choose another port with --port",
        )
    return errors.AgentStateError(
        f"cannot listen on {where}: {exc}",
        advice="Choose another address with --host and --port",
    )


class _Server(uvicorn.Server):
    """uvicorn's server with connections that are counted, and an end that does not wait."""

    def __init__(
        self,
        application: ASGIApp,
        listening: socket.socket,
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
        self._listening = listening
        self._limits = limits
        self._stop_timeout_s = stop_timeout_s
        self._all = Connections(limits.connections)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = asyncio.Event()

    def ask_to_stop(self) -> None:
        """Tell the application and the server, from another thread."""
        begin_stop: Callable[[], object] | None = getattr(self._application, "begin_stop", None)
        # The loop is closed where the server has failed.
        with contextlib.suppress(RuntimeError):
            if self._loop is not None:
                if begin_stop is not None:
                    self._loop.call_soon_threadsafe(begin_stop)
                self._loop.call_soon_threadsafe(self._stopping.set)

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
        self._listening.close()
        for protocol in list(self.server_state.connections):
            protocol.shutdown()
        until = self._now() + self._stop_timeout_s
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

    def _is_in_use(self) -> bool:
        return bool(self.server_state.connections or self.server_state.tasks)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()

    def _take_connections(self) -> None:
        if not self._stopping.is_set():
            asyncio.get_running_loop().add_reader(self._listening, self._accept)

    def _accept(self) -> None:
        """Take one connection; a flood of them leaves time for requests."""
        try:
            connected, address = self._listening.accept()
        except BlockingIOError:
            return
        except OSError as exc:
            self._recover(exc)
            return
        if self._all.is_full() and not self._all.make_room():
            connected.close()
        else:
            connected.setblocking(False)
            self._take(connected, address)

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
