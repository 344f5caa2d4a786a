"""The daemon's unix socket: where scripts and commands reach the table of commands."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import select
import socket
import socketserver
import sqlite3
import threading
import time
from typing import Any, Final

from keruta_agent.agent.control import table
from keruta_agent.agent.control.commands import UNKNOWN
from keruta_agent.agent.control.control import Control
from keruta_agent.agent.control.socket import protocol
from keruta_agent.agent.control.socket.address import address_of
from keruta_agent.agent.control.socket.connections import REQUEST_TIMEOUT_S, Connections, peer_of
from keruta_agent.agent.control.table import execute
from keruta_agent.agent.run.files import from_json
from keruta_agent.agent.store.disk import failure_to_store
from keruta_agent.core import errors

logger = logging.getLogger(__name__)

#: Seconds between looks whether the server is to stop.
STOP_LOOK_S: Final = 1.0
#: Seconds that a stop waits for requests under way: most are a write to the database.
DRAIN_S: Final = 2.0
#: Seconds until the next try to take a connection when there is no descriptor for it.
NO_DESCRIPTOR_S: Final = 0.1
_NO_DESCRIPTOR: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})


class AgentSocket:
    """The server at the unix socket of one agent."""

    def __init__(self, control: Control) -> None:
        """Bind the socket; a client that comes early waits for ``start``.

        Raises:
            AgentStateError: it cannot be bound.
        """
        agent = control.running
        try:
            with address_of(agent.socket_path) as address:
                self._server = _Server(address, control)
            agent.socket_path.chmod(0o600)
        except OSError as exc:
            raise errors.AgentStateError(
                f"cannot listen on the socket {agent.socket_path}: {exc.strerror}"
            ) from exc
        self._path = agent.socket_path
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(STOP_LOOK_S,), name="socket", daemon=True
        )

    def start(self) -> None:
        """Begin to answer."""
        self._thread.start()

    def stop(self) -> None:
        """Remove the socket; requests under way get their answers, if they take no longer."""
        self._server.connections.close()
        stopping = threading.Thread(target=self._server.shutdown)
        stopping.start()
        with (
            contextlib.suppress(OSError),
            address_of(self._path) as address,
            socket.socket(socket.AF_UNIX) as client,
        ):
            client.setblocking(False)
            client.connect(address)  # the server looks only when a client comes
        stopping.join()
        self._server.server_close()
        self._path.unlink(missing_ok=True)
        self._server.connections.drain(DRAIN_S)


def respond(control: Control, line: bytes) -> bytes:
    """Do the command of one request and return the line that answers it."""
    try:
        try:
            request = from_json(line)
        except ValueError as exc:
            raise errors.UsageError(f"{UNKNOWN}: {exc}") from exc
        return protocol.encode_answer(execute(control, table.read(request)))
    except errors.KerutaError as exc:
        return protocol.encode_error(exc)
    except (OSError, sqlite3.Error) as exc:
        if not control.running.disk.is_unwritable(exc):
            logger.exception("a request on the socket failed", extra={"action": "request_failed"})
        return protocol.encode_error(failure_to_store(exc))
    except (ValueError, TypeError, KeyError, LookupError) as exc:
        logger.exception("a request on the socket failed", extra={"action": "request_failed"})
        return protocol.encode_error(errors.AgentStateError(f"the request failed: {exc}"))


class _Handler(socketserver.BaseRequestHandler):
    server: _Server
    request: socket.socket

    def handle(self) -> None:
        if not _is_ours(self.request):
            return
        with contextlib.suppress(OSError):  # the client has gone: nobody waits for an answer
            line = self.server.connections.receive(self.request)
            if line and not _has_left(self.request):
                self.request.settimeout(REQUEST_TIMEOUT_S)
                self.request.sendall(respond(self.server.control, line))


class _Server(socketserver.ThreadingUnixStreamServer):
    daemon_threads = True
    #: A script's loop may connect faster than threads start.
    request_queue_size = 128

    def __init__(self, path: str, control: Control) -> None:
        self.control = control
        self.connections = Connections()
        self._was_without = False
        super().__init__(path, _Handler)

    def get_request(self) -> tuple[socket.socket, Any]:
        try:
            connection, address = super().get_request()
        except OSError as exc:
            if exc.errno in _NO_DESCRIPTOR:
                self._wait_for_descriptor(exc)
            raise
        self._was_without = False
        return connection, address

    def _wait_for_descriptor(self, exc: OSError) -> None:
        """Leave the client waiting for a moment: trying again at once would take the processor."""
        if not self._was_without:
            logger.warning(
                "cannot take a connection on the socket now: %s; it waits",
                exc.strerror,
                extra={"action": "socket_failed"},
            )
        self._was_without = True
        time.sleep(NO_DESCRIPTOR_S)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.connections.admit(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        super().shutdown_request(request)
        self.connections.leave(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        logger.exception("a connection on the socket failed", extra={"action": "socket_failed"})


def _has_left(connection: socket.socket) -> bool:
    """Return whether the client has closed its end.

    It took a daemon that did not answer for none, and has done the command without it.
    """
    poll = select.poll()
    poll.register(connection, 0)
    return bool(poll.poll(0))


def _is_ours(connection: socket.socket) -> bool:
    """Return whether the peer runs as our user, or as root."""
    return peer_of(connection).uid in (0, os.geteuid())
