"""When a request has its thread: not before it can be read without waiting."""

from __future__ import annotations

import pytest

from keruta_agent.http.arrivals import LARGE, MAX_HEADER_BYTES, MOST_WAITED, missing

GET = b"GET / HTTP/1.1\r\nHost: x\r\n"
POST = b"POST / HTTP/1.1\r\nHost: x\r\n"


@pytest.mark.parametrize("arrived", [b"G", b"\r\n", GET, GET + b"X: y", GET + b"X: y\r", GET[:-1]])
def test_half_head_waits_for_its_next_byte(arrived: bytes) -> None:
    assert missing(arrived) == len(arrived) + 1


@pytest.mark.parametrize(
    "arrived",
    [
        GET + b"\r\n",
        b"\r\n" + GET + b"\r\n",
        GET + b"\r\n" + GET,  # the next one follows at once
        POST + b"Content-Length: 5\r\n\r\n12345",
        POST + b"content-LENGTH:5\r\n\r\n12345more",
        POST + b"Content-Length: 0\r\n\r\n",
    ],
)
def test_whole_request_waits_no_longer(arrived: bytes) -> None:
    assert missing(arrived) == 0


def test_small_body_is_waited_for_as_a_whole() -> None:
    head = POST + b"Content-Length: 5\r\n\r\n"
    assert missing(head) == missing(head + b"1234") == len(head) + 5


@pytest.mark.parametrize(
    "header",
    [
        f"Content-Length: {MOST_WAITED}",
        "Content-Length: 9" + 20 * "9",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length : 5",
        "Content-Length: 5, 6",
        "Content-Length: -5",
        "Content-Length:\r\n 5",
        "Transfer-Encoding: chunked",
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Expect: 100-continue\r\nContent-Length: 5",
    ],
)
def test_body_that_nobody_should_wait_for_is_large(header: str) -> None:
    assert missing(POST + header.encode() + b"\r\n\r\n") == LARGE


@pytest.mark.parametrize(
    "arrived",
    [b"GET / HTTP/1.1\n", GET + b"X: y\nHalf: ", b"GET /" + b"a" * MAX_HEADER_BYTES],
)
def test_head_that_will_be_refused_is_refused_at_once(arrived: bytes) -> None:
    assert missing(arrived) == 0
