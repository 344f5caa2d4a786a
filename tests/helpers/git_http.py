"""A git server over http, with a password, that can hang and break off."""

from __future__ import annotations

import base64
import contextlib
import os
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tests.helpers.repositories import Repository

USER = "hanako"
PASSWORD = "correct-horse-battery-staple-9"


class GitHttpServer(ThreadingHTTPServer):
    """A handler that serves the repositories of a directory by ``git http-backend``."""

    daemon_threads = True

    def __init__(self, root: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.root = root
        #: Set to let every request hang until ``released``.
        self.hangs = False
        self.released = threading.Event()
        #: So many answers are broken off after so many bytes.
        self.break_off = 0
        self.break_off_after = 200
        #: Which requests are broken off, by the end of their path.
        self.break_off_at = "git-upload-pack"
        self.requests: list[str] = []

    @property
    def host(self) -> str:
        """Host and port."""
        return f"127.0.0.1:{self.server_port}"

    def url(self, repository: Repository) -> str:
        """Return the address of a repository."""
        return f"http://{self.host}/{repository.path.name}"


class _Handler(BaseHTTPRequestHandler):
    server: GitHttpServer
    protocol_version = "HTTP/1.0"

    def do_GET(self) -> None:
        self._serve()

    def do_POST(self) -> None:
        self._serve()

    def log_message(self, format: str, *args: Any) -> None:
        """Keep the tests' output clean."""

    def _serve(self) -> None:
        self.server.requests.append(f"{self.command} {self.path}")
        if self.server.hangs:
            self.server.released.wait(60)
            return
        wanted = "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        if self.headers.get("Authorization") != wanted:
            self.send_response(401)
            self.send_header("WWW-Authenticate", 'Basic realm="git"')
            self.end_headers()
            return
        answer = self._ask_git(self.rfile.read(int(self.headers.get("Content-Length") or 0)))
        head, _, body = answer.partition(b"\r\n\r\n")
        headers = dict(line.split(": ", 1) for line in head.decode().splitlines())
        self.send_response(int(headers.pop("Status", "200 OK").split(" ")[0]))
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        if (
            self.server.break_off
            and self.server.break_off_at in self.path
            and "info" not in self.path
        ):
            self.server.break_off -= 1
            self.wfile.write(body[: self.server.break_off_after])
            self.wfile.flush()
            self.connection.shutdown(2)
            return
        self.wfile.write(body)

    def _ask_git(self, body: bytes) -> bytes:
        parts = urlsplit(self.path)
        environment = {
            "PATH": os.environ["PATH"],
            "GIT_PROJECT_ROOT": str(self.server.root),
            "GIT_HTTP_EXPORT_ALL": "1",
            "REQUEST_METHOD": self.command,
            "PATH_INFO": parts.path,
            "QUERY_STRING": parts.query,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "REMOTE_USER": USER,
            "REMOTE_ADDR": "127.0.0.1",
            "GIT_CONFIG_COUNT": "2",
            "GIT_CONFIG_KEY_0": "safe.directory",
            "GIT_CONFIG_VALUE_0": "*",
            "GIT_CONFIG_KEY_1": "uploadpack.allowAnySHA1InWant",
            "GIT_CONFIG_VALUE_1": "true",
        }
        done = subprocess.run(
            ["git", "http-backend"], env=environment, input=body, capture_output=True, check=False
        )
        return done.stdout


@contextlib.contextmanager
def git_http_server(root: Path) -> Iterator[GitHttpServer]:
    """Serve the repositories in a directory for the length of the block."""
    server = GitHttpServer(root)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server
    finally:
        server.released.set()
        server.shutdown()
        thread.join()
        server.server_close()
