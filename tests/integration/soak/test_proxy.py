"""The flaky proxy does to a connection what its condition says."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator

import pytest

from keruta_agent.soak.proxy import Condition, FlakyProxy
from tests.helpers.strange_api import strange_server
from tests.helpers.waiting import wait_until

CONTENT = b"x" * 5000


@contextlib.contextmanager
def _proxy_to(url: str) -> Iterator[FlakyProxy]:
    host, _, port = url.removeprefix("http://").partition(":")
    found = FlakyProxy((host, int(port)), seed=1)
    found.start()
    try:
        yield found
    finally:
        found.stop()


@pytest.fixture
def proxy() -> Iterator[FlakyProxy]:
    with (
        strange_server(lambda method, path, body: (200, "text/plain", body or CONTENT)) as url,
        _proxy_to(url) as found,
    ):
        yield found


def _ask(proxy: FlakyProxy, body: bytes | None = None, timeout_s: float = 10.0) -> bytes:
    with urllib.request.urlopen(proxy.url, body, timeout=timeout_s) as answer:
        return bytes(answer.read())


def _is_refused(proxy: FlakyProxy) -> bool:
    try:
        _ask(proxy)
    except urllib.error.URLError as exc:
        return isinstance(exc.reason, ConnectionRefusedError)
    except OSError:
        return False
    return False


def test_well_passes_everything_on(proxy: FlakyProxy) -> None:
    assert _ask(proxy) == CONTENT
    assert _ask(proxy, b"y" * 100_000) == b"y" * 100_000


def test_slow_passes_everything_on_in_the_end(proxy: FlakyProxy) -> None:
    proxy.set_condition(Condition.SLOW)

    assert _ask(proxy, timeout_s=60.0) == CONTENT


def test_down_refuses_connections_until_it_is_well_again(proxy: FlakyProxy) -> None:
    proxy.set_condition(Condition.DOWN)
    wait_until(lambda: _is_refused(proxy), "connections are refused")

    proxy.set_condition(Condition.WELL)

    wait_until(lambda: not _is_refused(proxy), "connections are taken")
    assert _ask(proxy) == CONTENT


@pytest.mark.parametrize(
    ("condition", "status", "retry_after"),
    [(Condition.BUSY, 503, "1"), (Condition.BROKEN, 500, None)],
)
def test_refusing_conditions_answer_without_asking_the_server(
    proxy: FlakyProxy, condition: Condition, status: int, retry_after: str | None
) -> None:
    proxy.set_condition(condition)

    with pytest.raises(urllib.error.HTTPError) as raised:
        _ask(proxy, b"y" * 100_000)

    with raised.value as answer:
        assert answer.code == status
        assert answer.headers["Retry-After"] == retry_after


def test_html_is_a_page_that_looks_like_success(proxy: FlakyProxy) -> None:
    proxy.set_condition(Condition.HTML)

    assert _ask(proxy).startswith(b"<html>")


def test_silent_never_answers(proxy: FlakyProxy) -> None:
    proxy.set_condition(Condition.SILENT)

    with pytest.raises(TimeoutError):
        _ask(proxy, timeout_s=0.3)


def test_cutting_breaks_the_connection_in_the_middle_of_the_answer(proxy: FlakyProxy) -> None:
    proxy.set_condition(Condition.CUTTING)

    with pytest.raises((ConnectionError, http.client.HTTPException)):
        _ask(proxy)


def test_change_of_condition_cuts_a_request_that_waits_for_its_answer() -> None:
    asked, answer_now = threading.Event(), threading.Event()

    def answer(method: str, path: str, body: bytes) -> tuple[int, str, bytes]:
        asked.set()
        answer_now.wait(10)
        return 200, "text/plain", CONTENT

    with strange_server(answer) as url, _proxy_to(url) as proxy:
        host, _, port = proxy.url.removeprefix("http://").partition(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            assert asked.wait(10)

            proxy.set_condition(Condition.SILENT)

            with pytest.raises(ConnectionResetError):
                connection.recv(1)
        answer_now.set()
