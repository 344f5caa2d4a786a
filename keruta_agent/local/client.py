"""Speaks to the daemon on its unix socket."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from keruta_agent import errors
from keruta_agent.local import protocol
from keruta_agent.local.address import socket_path

#: Seconds for an answer: a request is at most a few writes to the database.
TIMEOUT_S: Final = 30.0
#: Seconds for an answer about what the daemon does; one that is stopped answers never.
PATIENCE_S: Final = 3.0


def call(
    base_dir: Path, request: Mapping[str, Any], *, timeout_s: float = TIMEOUT_S
) -> dict[str, Any]:
    """Sends one request and returns its answer.

    Raises:
        AgentUnreachable: no daemon answers.
        KerutaError: the daemon refused.
    """
    return call_at(socket_path(base_dir), request, timeout_s=timeout_s)


def served_session(base_dir: Path) -> str | None:
    """Returns the session that the running daemon serves; None when none runs or knows one."""
    try:
        session = call(base_dir, {"op": "status"}, timeout_s=PATIENCE_S).get("session")
    except errors.KerutaError:
        return None
    return str(session) if session else None


def call_at(
    path: Path, request: Mapping[str, Any], *, timeout_s: float = TIMEOUT_S
) -> dict[str, Any]:
    """Sends one request to the socket at a path and returns its answer.

    Raises:
        AgentUnreachable: no daemon answers.
        KerutaError: the daemon refused.
    """
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout_s)
            connection.connect(str(path))
            connection.sendall(protocol.encode_request(request))
            with connection.makefile("rb") as answers:
                return protocol.decode_answer(answers.readline())
    except OSError as exc:
        raise errors.AgentUnreachable(
            f"no keruta daemon answers at {path}: {exc.strerror or exc}"
        ) from exc
