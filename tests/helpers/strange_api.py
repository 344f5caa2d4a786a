"""A server that answers what no keruta API should."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import requests

#: Gets method, path and body; returns status, content type and body.
Answer = Callable[[str, str, bytes], tuple[int, str, bytes]]


@contextlib.contextmanager
def strange_server(answer: Answer) -> Iterator[str]:
    """Serve these answers on a free port of the loopback; give the address."""

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            status, content_type, content = answer(self.command, self.path, body)
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _handle

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), name="strange-api")
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def forward(url: str, method: str, path: str, body: bytes) -> tuple[int, str, bytes]:
    """Have a real server answer; events are left out, since they never end."""
    if "/events" in path:
        return 404, "application/json", b"{}"
    headers = {"Content-Type": "application/json"}
    answer = requests.request(method, url + path, data=body, headers=headers, timeout=30)
    return answer.status_code, answer.headers["Content-Type"], answer.content
