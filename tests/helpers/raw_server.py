"""A server of single connections, for what well-behaved servers never do."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Callable, Iterator


def read_head(connection: socket.socket) -> bytes:
    """Read up to the end of a request's headers; what came of the body follows them."""
    received = b""
    while b"\r\n\r\n" not in received:
        block = connection.recv(65536)
        if not block:
            break
        received += block
    return received


@contextlib.contextmanager
def raw_server(*turns: Callable[[socket.socket], None]) -> Iterator[str]:
    """Listen on a free port of the loopback; each connection is served by the next turn."""
    listener = socket.create_server(("127.0.0.1", 0))
    listener.settimeout(30)

    def serve() -> None:
        for turn in turns:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(30)
                # The client may leave first: that is what some of the tests are about.
                with contextlib.suppress(OSError):
                    turn(connection)

    thread = threading.Thread(target=serve, name="raw-server")
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()
