"""A small reverse proxy that serves one server under a path, as Coder or nginx does."""

from __future__ import annotations

import contextlib
import http.client
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

#: Seconds for which the server may say nothing: longer than its heartbeats are apart.
_PATIENCE_S = 30.0
#: Of one connection only, and set anew on the other.
_OF_A_CONNECTION = {"connection", "transfer-encoding", "keep-alive"}


class ReverseProxy:
    """The proxy, and what was asked of it elsewhere than below its path."""

    def __init__(self, url: str, strayed: list[str]) -> None:
        #: Where the server is to be found, with the path.
        self.url = url
        #: Paths of requests that the server would not have got.
        self.strayed = strayed


@contextlib.contextmanager
def reverse_proxy(server: str, prefix: str, *, cuts_off: bool) -> Iterator[ReverseProxy]:
    """Serve a server under a path for the length of the block.

    Args:
        server: its address.
        prefix: the path.
        cuts_off: whether the server gets paths without it.
    """
    target = urlsplit(server)
    strayed: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        """Passes one request on."""

        def do_GET(self) -> None:
            if not self.path.startswith(f"{prefix}/"):
                strayed.append(self.path)
                self.send_error(404)
                return
            length = int(self.headers.get("Content-Length", "0"))
            headers = {
                name: text
                for name, text in self.headers.items()
                if name.lower() not in _OF_A_CONNECTION
            }
            path = self.path.removeprefix(prefix) if cuts_off else self.path
            with contextlib.closing(
                http.client.HTTPConnection(str(target.hostname), target.port, timeout=_PATIENCE_S)
            ) as connection:
                connection.request(self.command, path, self.rfile.read(length), headers)
                self._pass_back(connection.getresponse())

        do_POST = do_HEAD = do_GET

        def _pass_back(self, answer: http.client.HTTPResponse) -> None:
            self.send_response_only(answer.status)
            for name, text in answer.getheaders():
                if name.lower() not in _OF_A_CONNECTION:
                    self.send_header(name, text)
            self.end_headers()
            # A browser that leaves a page, or a server that stops, ends a stream in the middle.
            with contextlib.suppress(OSError, http.client.HTTPException):
                while piece := answer.read1(65536):
                    self.wfile.write(piece)

        def log_message(self, format: str, *args: object) -> None:
            """Print nothing."""

    proxy = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    proxy.daemon_threads = True
    thread = threading.Thread(target=proxy.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield ReverseProxy(f"http://127.0.0.1:{proxy.server_address[1]}{prefix}", strayed)
    finally:
        proxy.shutdown()
        thread.join()
        proxy.server_close()
