"""Notifications to systemd, and silence where there is none."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from keruta_agent.agent.daemon import systemd
from keruta_agent.agent.daemon.systemd import ServiceManager


class Listener:
    def __init__(self, address: str) -> None:
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.setblocking(False)
        self._socket.bind(address)

    def heard(self) -> list[str]:
        """Return what was said since the last time; what was sent is here at once."""
        found = []
        while True:
            try:
                found.append(self._socket.recv(4096).decode())
            except BlockingIOError:
                return found

    def close(self) -> None:
        self._socket.close()


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Listener]:
    listener = Listener(str(tmp_path / "notify"))
    yield listener
    listener.close()


def manager(tmp_path: Path, **environment: str) -> ServiceManager:
    return ServiceManager({"NOTIFY_SOCKET": str(tmp_path / "notify"), **environment})


def test_service_says_when_it_is_ready_and_when_it_stops(listener, tmp_path):
    service = manager(tmp_path)
    service.ready("takes tasks")
    service.stopping("last words")
    for _ in range(10):  # at every look, and said once
        service.extend_stop(30)
    assert listener.heard() == [
        "READY=1\nSTATUS=takes tasks",
        "STOPPING=1\nSTATUS=last words",
        "EXTEND_TIMEOUT_USEC=30000000",
    ]


def test_reload_is_said_with_the_time_that_systemd_asks_for(listener, tmp_path):
    before = time.monotonic_ns() // 1000
    manager(tmp_path).reloading()
    [said] = listener.heard()
    first, _, second = said.partition("\n")
    name, _, number = second.partition("=")
    assert (first, name) == ("RELOADING=1", "MONOTONIC_USEC")
    assert before <= int(number) <= time.monotonic_ns() // 1000


def test_sign_of_life_is_given_twice_within_the_watchdogs_limit(listener, tmp_path, monkeypatch):
    clock = [100.0]
    monkeypatch.setattr(systemd.time, "monotonic", lambda: clock[0])
    service = manager(tmp_path, WATCHDOG_USEC="20000000")
    for _ in range(41):
        service.alive()
        clock[0] += 1
    assert listener.heard() == ["WATCHDOG=1"] * 5


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"WATCHDOG_USEC": "0"},
        {"WATCHDOG_USEC": "soon"},
        {"WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"},
    ],
)
def test_no_sign_of_life_is_given_to_a_watchdog_that_is_not_ours(listener, tmp_path, environment):
    manager(tmp_path, **environment).alive()
    assert listener.heard() == []


def test_watchdog_that_names_us_is_ours(listener, tmp_path):
    manager(tmp_path, WATCHDOG_USEC="1000000", WATCHDOG_PID=str(os.getpid())).alive()
    assert listener.heard() == ["WATCHDOG=1"]


def test_abstract_socket_is_reached():
    name = f"keruta-test-{os.getpid()}-{time.monotonic_ns()}"
    listener = Listener(f"\0{name}")
    ServiceManager({"NOTIFY_SOCKET": f"@{name}"}).ready("x")
    assert listener.heard() == ["READY=1\nSTATUS=x"]
    listener.close()


def test_service_without_systemd_says_nothing_and_fails_at_nothing(caplog):
    service = ServiceManager({"WATCHDOG_USEC": "1000000"})
    service.ready("x")
    service.alive()
    service.stopping("x")
    assert caplog.records == []


def test_systemd_that_does_not_listen_stops_nothing(tmp_path, caplog):
    manager(tmp_path).ready("x")
    assert "cannot notify the service manager" in caplog.text
