"""A gate in front of a real server, which the test may close in all the ways of a bad day."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests

#: Answers a request in the server's place, or lets it pass by returning False.
Trouble = Callable[["Passage"], bool]


class Passage(BaseHTTPRequestHandler):
    """One connection through the gate."""

    gate: Gate
    protocol_version = "HTTP/1.1"

    def _handle(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.gate.trouble is not None and self.gate.trouble(self):
            self.gate.turned_away.append(f"{self.command} {self.path}")
            return
        if "/events" in self.path:  # they never end
            self.answer(404, b"{}")
            return
        headers = {
            name: value
            for name, value in self.headers.items()
            if name.lower() in ("content-type", "idempotency-key")
        }
        try:
            answer = requests.request(
                self.command, self.gate.target + self.path, data=body, headers=headers, timeout=30
            )
        except requests.RequestException:  # the server ended before its clients
            self.answer(502, b"")
            return
        self.answer(answer.status_code, answer.content, answer.headers["Content-Type"])

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle

    def answer(
        self, status: int, content: bytes, content_type: str = "application/json", **headers: str
    ) -> bool:
        """Send an answer; header names have underscores for hyphens."""
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(content)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(content)
        return True

    def log_message(self, format: str, *args: Any) -> None:
        return


class _Server(ThreadingHTTPServer):
    daemon_threads = True  # connections that are kept alive end with the test

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore errors: a client that was killed leaves in the middle of an answer."""


class Gate:
    """Open unless ``trouble`` is set."""

    def __init__(self, target: str) -> None:
        self.target = target
        self.trouble: Trouble | None = None
        #: Requests that did not pass, as method and path.
        self.turned_away: list[str] = []
        self.url = ""
        #: Set when the test is over: nothing is to hang any longer.
        self.over = threading.Event()

    def hang(self, passage: Passage) -> bool:
        """Take the request and never answers it."""
        self.turned_away.append(f"{passage.command} {passage.path}")
        self.over.wait(60)
        passage.close_connection = True
        return True


@contextlib.contextmanager
def gate_before(target: str) -> Iterator[Gate]:
    """Put a gate in front of a server."""
    gate = Gate(target)
    handler = type("Handler", (Passage,), {"gate": gate})
    server = _Server(("127.0.0.1", 0), handler)
    gate.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="gate")
    thread.start()
    try:
        yield gate
    finally:
        gate.over.set()
        server.shutdown()
        server.server_close()
        thread.join()
