"""What stands between a client and a server: an end of TLS, and an HTTP proxy with a password."""

from __future__ import annotations

import base64
import contextlib
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

#: Makes the connection behind, says what has to be told first, and returns both sockets.
Open = Callable[[socket.socket], tuple[socket.socket, socket.socket]]


@contextlib.contextmanager
def _relaying(open_both: Open) -> Iterator[int]:
    """Relay what comes to a free port; a side that leaves takes the other along."""

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            try:
                near, far = open_both(self.request)
            except (OSError, ValueError):  # it trusts nobody here, or wants what there is not
                return
            with near, far:
                back = threading.Thread(target=_pump, args=(far, near))
                back.start()
                _pump(near, far)
                back.join()

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = False

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="relay")
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def _pump(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while piece := source.recv(65536):
            target.sendall(piece)
    for one in (source, target):
        with contextlib.suppress(OSError):
            socket.socket.shutdown(one, socket.SHUT_RDWR)


@contextlib.contextmanager
def tls_end(address: str, context: ssl.SSLContext) -> Iterator[str]:
    """Serve over TLS what a plain address has; give the new one."""
    parts = urlsplit(address)

    def open_both(near: socket.socket) -> tuple[socket.socket, socket.socket]:
        near.settimeout(60)
        wrapped = context.wrap_socket(near, server_side=True)
        return wrapped, socket.create_connection((parts.hostname, parts.port), 60)

    with _relaying(open_both) as port:
        yield f"https://localhost:{port}{parts.path}"


class Proxy:
    """An HTTP proxy, and where it was asked to go."""

    def __init__(self, user: str, password: str) -> None:
        self._login = base64.b64encode(f"{user}:{password}".encode()).decode()
        self.asked: list[str] = []

    @contextlib.contextmanager
    def serving(self) -> Iterator[int]:
        """Serve on a port until it is left."""
        with _relaying(self._open) as port:
            yield port

    def _open(self, near: socket.socket) -> tuple[socket.socket, socket.socket]:
        near.settimeout(60)
        head = b""
        while b"\r\n\r\n" not in head:
            piece = near.recv(65536)
            if not piece:
                raise ValueError("the client left")
            head += piece
        first, _, rest = head.partition(b"\r\n")
        method, target, version = first.decode().split(" ")
        if f"Basic {self._login}".encode() not in rest:
            near.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
            raise ValueError("no login")
        self.asked.append(f"{method} {target}")
        parts = urlsplit(f"//{target}" if method == "CONNECT" else target)
        far = socket.create_connection((parts.hostname, parts.port), 60)
        if method == "CONNECT":
            near.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            far.sendall(f"{method} {parts.path} {version}\r\n".encode() + rest)
        return near, far
