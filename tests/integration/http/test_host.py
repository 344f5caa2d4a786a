"""The start and the stop of the HTTP host."""

from __future__ import annotations

import multiprocessing
import signal
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
import requests

from keruta_agent.core import errors
from keruta_agent.http.serving.host import Host
from tests.helpers.http_host import (
    HALVES,
    LAST_GET,
    LIMITS,
    PATIENCE_S,
    SOON_S,
    App,
    connect,
    read_all,
)
from tests.helpers.waiting import wait_until


def test_port_in_use_is_told_and_free_again_although_nobody_was_ever_answered(app: App) -> None:
    host = Host(app, host="127.0.0.1", port=0)
    with pytest.raises(errors.AgentStateError, match="it is in use"):
        Host(app, host="127.0.0.1", port=host.port)
    host.stop()

    with socket.create_server(("127.0.0.1", host.port)) as next_one:
        assert next_one.getsockname()[1] == host.port


@pytest.mark.parametrize(
    ("address", "port"), [("192.0.2.1", 0), ("no.such.name.invalid", 0), ("127.0.0.1", 70_000)]
)
def test_address_that_cannot_be_used_is_told(app: App, address: str, port: int) -> None:
    with pytest.raises(errors.AgentStateError, match=f"cannot listen on {address} port {port}"):
        Host(app, host=address, port=port)


def test_port_is_free_after_the_stop(host: Host) -> None:
    requests.get(host.url, timeout=PATIENCE_S)
    host.stop()
    host.stop()
    with socket.create_server(("127.0.0.1", host.port)) as next_one:
        assert next_one.getsockname()[1] == host.port


def test_request_in_flight_is_finished_at_the_stop(
    host_with: Callable[..., Host], app: App
) -> None:
    host = host_with(stop_timeout_s=PATIENCE_S)
    with connect(host) as connection:
        connection.sendall(b"GET /slow HTTP/1.1\r\nHost: x\r\n\r\n")
        assert app.has_begun.wait(PATIENCE_S)
        host.stop()
        assert read_all(connection).endswith(b"done")


def test_stream_ends_in_order_at_the_stop(host_with: Callable[..., Host], app: App) -> None:
    host = host_with(stop_timeout_s=PATIENCE_S)
    with connect(host) as connection:
        connection.sendall(b"GET /stream HTTP/1.1\r\nHost: x\r\n\r\n")
        assert app.has_begun.wait(PATIENCE_S)
        host.stop()
        assert read_all(connection).endswith(b"retry: 1\n\n\r\n0\r\n\r\n")


@pytest.mark.parametrize("half", [*HALVES, b"GET /busy HTTP/1.1\r\nHost: x\r\n\r\n", b""])
def test_stop_waits_for_no_client_longer_than_it_may(
    app: App, half: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    others = set(threading.enumerate())
    host = Host(app, host="127.0.0.1", port=0, limits=LIMITS, stop_timeout_s=SOON_S)
    host.start()
    with connect(host) as connection:
        connection.sendall(half)
        requests.get(host.url, timeout=PATIENCE_S)
        host.stop()
        read_all(connection)
    assert not any(thread.name == "http" for thread in {*threading.enumerate()} - others)
    assert "Traceback" not in caplog.text


def test_signals_of_the_process_are_left_alone(app: App) -> None:
    before = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)]
    host = Host(app, host="127.0.0.1", port=0)
    host.start()
    assert [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)] == before
    host.stop()


def test_end_of_its_thread_is_logged(
    host: Host, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(host._server, "on_tick", lambda counter: 1 / 0)
    wait_until(lambda: f"the server on {host.url} has failed" in caplog.text, "it is logged")
    host.stop()


def test_several_hosts_serve_in_one_process(host_with: Callable[..., Host]) -> None:
    hosts = [host_with() for _ in range(3)]
    assert len({host.port for host in hosts}) == 3
    for host in hosts:
        assert requests.get(host.url, timeout=PATIENCE_S).text == "hello"


def _serve_one_request(answers: Any) -> None:
    host = Host(App(), host="127.0.0.1", port=0)
    host.start()
    answers.put(requests.get(host.url, timeout=PATIENCE_S).text)
    host.stop()


@pytest.mark.filterwarnings("ignore:This process.*is multi-threaded:DeprecationWarning")
def test_forked_process_has_hosts_of_its_own(host: Host) -> None:
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    child = context.Process(target=_serve_one_request, args=(answers,))
    child.start()
    child.join(PATIENCE_S)
    assert child.exitcode == 0
    assert answers.get() == "hello"
    assert requests.get(host.url, timeout=PATIENCE_S).text == "hello"


def test_address_of_version_6_stands_in_brackets(app: App) -> None:
    try:
        host = Host(app, host="::1", port=0)
    except errors.AgentStateError:
        pytest.skip("no IPv6 here")
    host.start()
    assert host.url == f"http://[::1]:{host.port}"
    assert requests.get(host.url, timeout=PATIENCE_S).text == "hello"
    host.stop()


def test_stop_loses_no_request_of_a_client_that_was_connected(
    host_with: Callable[..., Host],
) -> None:
    host = host_with(stop_timeout_s=PATIENCE_S)
    stopped = threading.Event()

    def ask_until_refused(_: int) -> int:
        answered = 0
        while True:
            try:
                connection = connect(host)
            except ConnectionRefusedError:
                return answered
            with connection:
                connection.sendall(LAST_GET)
                assert read_all(connection).endswith(b"hello")
            answered += 1
            if answered == 1:
                stopped.set()

    with ThreadPoolExecutor(3) as clients:
        asking = clients.map(ask_until_refused, range(3))
        assert stopped.wait(PATIENCE_S)
        host.stop()
        assert sum(asking) >= 1


def test_answers_end_their_connections_while_the_host_drains(host: Host) -> None:
    with requests.Session() as session:
        assert "connection" not in session.get(host.url, timeout=PATIENCE_S).headers
        host.begin_drain()
        host.begin_drain()

        def is_closed() -> bool:
            return session.get(host.url, timeout=PATIENCE_S).headers.get("connection") == "close"

        wait_until(is_closed, "an answer ends its connection")
        # Those who connect anew are answered, too.
        assert requests.get(host.url, timeout=PATIENCE_S).text == "hello"
