"""Bodies in chunks: read as they are, in bounded memory, and refused when they are malformed."""

from __future__ import annotations

import io

import pytest

from keruta_agent.http.chunks import MOST_OF_A_LINE, MOST_TRAILERS, Chunks


def _read(sent: bytes) -> bytes:
    return io.BufferedReader(Chunks(io.BytesIO(sent))).read()


@pytest.mark.parametrize(
    ("sent", "body"),
    [
        (b"0\r\n\r\n", b""),
        (b"3\r\nabc\r\n0\r\n\r\n", b"abc"),
        (b"3\r\nabc\r\nA;name=value\r\n0123456789\r\n00\r\n\r\n", b"abc0123456789"),
        (b"2\r\n\r\n\r\n0\r\nTrailer: x\r\nMore: y\r\n\r\n", b"\r\n"),
    ],
)
def test_body_is_what_the_chunks_hold(sent: bytes, body: bytes) -> None:
    assert _read(sent) == body


def test_next_request_begins_behind_the_trailers() -> None:
    source = io.BytesIO(b"1\r\na\r\n0\r\nTrailer: x\r\n\r\nGET / HTTP/1.1\r\n")
    assert io.BufferedReader(Chunks(source)).read() == b"a"
    assert source.read() == b"GET / HTTP/1.1\r\n"


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"\r\n",
        b"x\r\n",
        b"-5\r\nabc",
        b"+3\r\nabc\r\n",
        b"0x3\r\nabc\r\n",
        b"3\nabc\r\n",
        b"3\r\nab",
        b"3\r\nabcd\r\n",
        b"F" * 16 + b"\r\nabc",
        b"5;" + b"a" * MOST_OF_A_LINE + b"\r\n",
        b"0\r\n" + b"A: b\r\n" * MOST_TRAILERS,
    ],
)
def test_invalid_input_is_refused(sent: bytes) -> None:
    with pytest.raises(ValueError, match=r"chunk|too much"):
        _read(sent)


def test_chunk_that_says_it_is_huge_takes_no_memory() -> None:
    class Endless:
        largest = 0

        def readline(self, size: int) -> bytes:
            return b"FFFFFFFFFFFFF\r\n"

        def read(self, size: int) -> bytes:
            self.largest = max(self.largest, size)
            return b"x" * size

    source = Endless()
    body = io.BufferedReader(Chunks(source))
    for _ in range(100):
        assert len(body.read(65536)) == 65536
    assert source.largest <= 2 * 65536
