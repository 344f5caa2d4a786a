"""The client of the daemon's unix socket."""

from __future__ import annotations

import os
import socket
import stat
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from keruta_agent.agent.control.commands import Command, ResultT, Status
from keruta_agent.agent.control.socket import protocol
from keruta_agent.agent.control.socket.address import address_of, socket_path
from keruta_agent.agent.control.socket.connections import peer_of
from keruta_agent.core import errors
from keruta_agent.core.process_tree.proc import process_state

#: Seconds for an answer: a request is at most a few writes to the database.
TIMEOUT_S: Final = 30.0
#: Seconds for an answer about what the daemon does; one that is stopped answers never.
STATUS_TIMEOUT_S: Final = 3.0
#: State letters of a process that somebody has stopped, or a debugger holds.
_STOPPED: Final = ("T", "t")


def ask(base_dir: Path, command: Command[ResultT], *, timeout_s: float = TIMEOUT_S) -> ResultT:
    """Have the daemon do a command and return its result.

    Raises:
        AgentSilent: the daemon is stopped, or does not answer in time.
        AgentUnreachable: no daemon answers.
        KerutaError: the daemon refused.
    """
    request, path = command.to_request(), socket_path(base_dir)
    return command.read_result(exchange(path, request, timeout_s=timeout_s, to_stopped=False))


def ask_at(path: Path, command: Command[ResultT], *, timeout_s: float = TIMEOUT_S) -> ResultT:
    """Have the daemon whose socket is at a path do a command and return its result.

    A daemon that is stopped may go on within the time.

    Raises:
        AgentSilent: the daemon does not answer in time.
        AgentUnreachable: no daemon answers.
        KerutaError: the daemon refused.
    """
    return command.read_result(exchange(path, command.to_request(), timeout_s=timeout_s))


def served_session(base_dir: Path) -> str | None:
    """Return the session that the running daemon serves; None when none runs or knows one."""
    try:
        session = ask(base_dir, Status(), timeout_s=STATUS_TIMEOUT_S).get("session")
    except errors.KerutaError:
        return None
    return str(session) if session else None


def exchange(
    path: Path, request: Mapping[str, Any], *, timeout_s: float = TIMEOUT_S, to_stopped: bool = True
) -> dict[str, Any]:
    """Send one request to the socket at a path and return its answer.

    Without ``to_stopped`` a daemon that is stopped gets none: it would answer nobody knows when.

    Raises:
        AgentSilent: the daemon is stopped, or does not answer in time.
        AgentUnreachable: no daemon answers.
        KerutaError: the daemon refused.
    """
    try:
        with (
            address_of(path) as address,
            socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection,
        ):
            _connect(connection, address, timeout_s)
            _refuse_stranger(connection, path)
            if not to_stopped:
                _refuse_stopped(connection)
            connection.sendall(protocol.encode_request(request))
            with connection.makefile("rb") as answers:
                return protocol.decode_answer(answers.readline())
    except (TimeoutError, BlockingIOError) as exc:  # the latter while it takes no connection
        raise errors.AgentSilent(
            f"the keruta daemon has not answered within {timeout_s:.0f} seconds"
        ) from exc
    except OSError as exc:
        raise errors.AgentUnreachable(
            f"no keruta daemon answers at {path}: {exc.strerror or exc}"
        ) from exc


def _connect(connection: socket.socket, address: str, timeout_s: float) -> None:
    """Connect, and wait for a place in the queue: with Python's own timeout a full one refuses."""
    limit = struct.pack("ll", int(timeout_s), int(timeout_s % 1 * 1e6))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, limit)
    connection.connect(address)
    connection.settimeout(timeout_s)


def _refuse_stopped(connection: socket.socket) -> None:
    pid = peer_of(connection).pid
    found = process_state(pid)
    if found is not None and found[0] in _STOPPED:
        raise errors.AgentSilent(f"the keruta daemon (process {pid}) is stopped (SIGSTOP)")


def _refuse_stranger(connection: socket.socket, path: Path) -> None:
    """Refuse to send another user the request: it may hold scripts and secrets.

    Root may speak to the agent of a user, but not at a place where anybody could wait for it.
    """
    uid = peer_of(connection).uid
    if uid in (0, os.geteuid()):
        return
    is_shared_place = bool(path.parent.parent.stat().st_mode & stat.S_IWOTH)
    if os.geteuid() != 0 or is_shared_place:
        raise errors.AgentUnreachable(
            f"what answers at {path} belongs to another user (uid {uid}), nothing is sent to it"
        )
