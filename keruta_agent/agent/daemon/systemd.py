"""systemd's protocol for services: ready, alive, stopping; silent where there is no systemd."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Mapping

logger = logging.getLogger(__name__)


class ServiceManager:
    """The client of systemd's notification socket (sd_notify(3))."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._address = environment.get("NOTIFY_SOCKET", "")
        self._watchdog_s = _watchdog_seconds(environment)
        self._next_ping = 0.0
        self._extended_until = 0.0

    def ready(self, status: str) -> None:
        """Notify systemd that the daemon takes tasks."""
        self._notify(f"READY=1\nSTATUS={status}")

    def reloading(self) -> None:
        """Notify systemd that the daemon replaces itself and will be ready again."""
        self._notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self, status: str) -> None:
        """Notify systemd that the daemon stops."""
        self._notify(f"STOPPING=1\nSTATUS={status}")

    def alive(self) -> None:
        """Notify the watchdog, at half of its interval."""
        if self._watchdog_s is not None and time.monotonic() >= self._next_ping:
            # Half of the limit, as systemd itself advises.
            self._next_ping = time.monotonic() + self._watchdog_s / 2
            self._notify("WATCHDOG=1")

    def extend_stop(self, seconds: float) -> None:
        """Ask for more time to stop in, because a task is being finished.

        May be called in a loop: it sends again once half of the extension is over.
        """
        now = time.monotonic()
        if now < self._extended_until - seconds / 2:
            return
        self._extended_until = now + seconds
        self._notify(f"EXTEND_TIMEOUT_USEC={round(seconds * 1_000_000)}")

    def _notify(self, text: str) -> None:
        if not self._address:
            return
        # A leading @ means an abstract socket, which the kernel writes with a NUL.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as notify:
                notify.sendto(text.encode(), address)
        except OSError as exc:
            logger.warning(
                "cannot notify the service manager: %s", exc, extra={"action": "notify_failed"}
            )


def _watchdog_seconds(environment: Mapping[str, str]) -> float | None:
    if environment.get("WATCHDOG_PID", str(os.getpid())) != str(os.getpid()):
        return None
    text = environment.get("WATCHDOG_USEC", "")
    return int(text) / 1_000_000 if text.isdigit() and int(text) > 0 else None
