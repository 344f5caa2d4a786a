"""The requests that agents send, as bytes: the same lines that the agent's own client writes."""

from __future__ import annotations

import dataclasses
import itertools
import json
import uuid

_AGENT = "User-Agent: keruta-agent/load\r\n"
_JSON = "Accept-Encoding: gzip, deflate\r\nAccept: application/json\r\nConnection: keep-alive\r\n"
_STREAM = "Accept-Encoding: identity\r\nAccept: text/event-stream\r\nConnection: keep-alive\r\n"
#: Seconds of silence after which another agent takes over, as the agent's setting has it.
LEASE_S = 60
#: Of the lease, as the agent renews it.
HEARTBEAT_S = LEASE_S / 3


@dataclasses.dataclass(frozen=True, kw_only=True)
class Requests:
    """Makes the requests to one server."""

    host: str
    port: int
    token: str | None = None
    #: No two writes have the same key.
    _keys: itertools.count[int] = dataclasses.field(default_factory=itertools.count)
    _run: str = dataclasses.field(default_factory=lambda: uuid.uuid4().hex)

    def session(self, session_id: str) -> bytes:
        """Read a session: the first half of a poll."""
        return self.get(f"/api/v1/sessions/{session_id}")

    def pending(self, session_id: str) -> bytes:
        """Read a session's pending tasks: the other half."""
        return self.get(f"/api/v1/sessions/{session_id}/tasks?status=PENDING")

    def stream(self, session_id: str) -> bytes:
        """Listen to a session's events."""
        path = f"/api/v1/sessions/realtime/events?sessionId={session_id}"
        return self._head("GET", path, _STREAM) + b"\r\n"

    def heartbeat(self, agent_id: str, session_id: str) -> bytes:
        """Register an agent, or renew its lease."""
        body = {
            "instance": f"{agent_id}-instance",
            "sessionId": session_id,
            "leaseSeconds": LEASE_S,
            "host": "load",
            "version": "load",
        }
        return self.write("PUT", f"/api/v1/agents/{agent_id}", json.dumps(body).encode())

    def status(self, task_id: str, percent: int) -> bytes:
        """Write that a task runs, which may be said again."""
        body = {
            "status": "PROCESSING",
            "message": f"{percent}% of it",
            "progress": percent,
            "errorCode": "",
        }
        return self.write("PUT", f"/api/v1/tasks/{task_id}/status", json.dumps(body).encode())

    def progress(self, task_id: str, percent: int, message: str) -> bytes:
        """Write a running task's progress."""
        body = json.dumps({"progress": percent, "message": message}).encode()
        return self.write("PATCH", f"/api/v1/tasks/{task_id}/progress", body)

    def logs(self, task_id: str, lines: bytes) -> bytes:
        """Write lines of a log, made by ``log_lines``."""
        return self.write("POST", f"/api/v1/tasks/{task_id}/logs", lines)

    def get(self, path: str) -> bytes:
        """Read something."""
        return self._head("GET", path, _JSON) + b"\r\n"

    def write(self, method: str, path: str, body: bytes) -> bytes:
        """Write something, under a key of its own."""
        more = (
            f"{_JSON}Content-Type: application/json\r\n"
            f"Idempotency-Key: {self._run}-{next(self._keys)}\r\nContent-Length: {len(body)}\r\n"
        )
        return self._head(method, path, more) + b"\r\n" + body

    def _head(self, method: str, path: str, more: str) -> bytes:
        token = f"Authorization: Bearer {self.token}\r\n" if self.token else ""
        host = f"Host: {self.host}:{self.port}\r\n"
        return f"{method} {path} HTTP/1.1\r\n{host}{_AGENT}{token}{more}".encode()


def log_lines(number: int) -> bytes:
    """Return lines as a build prints them, in one body."""
    return json.dumps(
        [
            {
                "level": "INFO",
                "message": f"[{line:4}/{number}] Building C object src/module_{line}.c.o, -O2 -g",
                "source": "stdout",
                "timestamp": f"2026-11-28T12:00:00.{line % 1_000_000:06}Z",
            }
            for line in range(number)
        ]
    ).encode()
