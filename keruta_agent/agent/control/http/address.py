"""Where the daemon's HTTP API listens: as configured, and as published to other programs."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from keruta_agent.agent.control.http.token import write_private
from keruta_agent.agent.run.files import read_small
from keruta_agent.core import errors
from keruta_agent.core.settings.schema import Settings

#: The file that shows other programs of this user where the API is. It outlives an agent that was
#: killed, so that its reader must check whether somebody answers.
ADDRESS_FILE: Final = "http.json"


def listening_address(settings: Settings) -> str:
    """Return the IP address to listen on.

    Raises:
        SettingsError: there is none of that name, or others could reach it and nobody set a token.
    """
    host = settings.daemon_host.strip("[]")
    addresses = ["127.0.0.1"] if host == "localhost" else _addresses(host)
    is_private = all(ipaddress.ip_address(address).is_loopback for address in addresses)
    if not is_private and settings.daemon_token is None:
        raise errors.SettingsError(
            f"the HTTP API does not listen on {host} without a token that you set: other machines"
            " could reach it",
            advice="Set KERUTA_DAEMON_TOKEN (or daemon.token), or listen on localhost",
        )
    return addresses[0]


def _addresses(host: str) -> list[str]:
    try:
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        return [str(entry[4][0]).partition("%")[0] for entry in found]
    except (OSError, UnicodeError) as exc:
        raise errors.SettingsError(
            f"the HTTP API cannot listen on {host}: there is no such address",
            advice="Set --host to a name or address of this machine, such as localhost",
        ) from exc


def publish(base_dir: Path, url: str) -> None:
    """Write where the API is.

    Raises:
        AgentStateError: it cannot be written.
    """
    path = base_dir / ADDRESS_FILE
    try:
        write_private(path, json.dumps({"url": url, "pid": os.getpid()}) + "\n")
    except OSError as exc:
        raise errors.AgentStateError(f"cannot write {path}: {exc.strerror}") from exc


def withdraw(base_dir: Path) -> None:
    """Remove what ``publish`` wrote, also what an agent that was killed left behind."""
    with contextlib.suppress(OSError):  # a directory that is gone misleads nobody
        (base_dir / ADDRESS_FILE).unlink(missing_ok=True)


def published(base_dir: Path) -> Mapping[str, Any] | None:
    """Return ``url`` and ``pid`` as they were published last, None when there is nothing."""
    try:
        found = json.loads(read_small(base_dir / ADDRESS_FILE) or "null")
    except ValueError:
        return None
    return found if isinstance(found, dict) else None
