"""The generator of ``benchmarks.server_load``: what it makes of an answer's bytes."""

from __future__ import annotations

import math

import pytest

from benchmarks.server_load.connection import AnswerReader
from benchmarks.server_load.figures import percentile

CHUNKS = (
    b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n10;name=value\r\n0123456789abcdef\r\n0\r\n\r\n"
)


def read(answer: bytes, size: int) -> tuple[AnswerReader, bytes]:
    """Return what a reader makes of an answer that arrives in pieces of a size."""
    reader = AnswerReader()
    pieces = [answer[start : start + size] for start in range(0, len(answer), size)]
    return reader, b"".join(reader.feed(piece) for piece in pieces)


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
@pytest.mark.parametrize(
    ("answer", "status", "body"),
    [
        (b"HTTP/1.1 200 OK\r\ncontent-LENGTH: 5\r\n\r\nhello", 200, b"hello"),
        (b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n", 503, b""),
        (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b""),
        (b"HTTP/1.1 200 OK\r\n" + CHUNKS, 200, b"abc0123456789abcdef"),
    ],
)
def test_answer_is_complete_however_it_is_framed_and_cut(
    answer: bytes, status: int, body: bytes, size: int
) -> None:
    reader, found = read(answer, size)
    assert (reader.is_complete, reader.status, found) == (True, status, body)


@pytest.mark.parametrize(
    "answer",
    [b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nhello", b"HTTP/1.1 200 OK\r\n" + CHUNKS[:-1]],
)
def test_answer_that_breaks_off_is_never_complete(answer: bytes) -> None:
    reader, _ = read(answer, 4)
    assert not reader.is_complete
    assert not reader.ends_with_connection


def test_answer_without_length_ends_with_its_connection() -> None:
    reader, found = read(b"HTTP/1.1 200 OK\r\n\r\ndata: 1\n\n", 5)
    assert (reader.is_complete, reader.ends_with_connection, found) == (False, True, b"data: 1\n\n")


def test_percentile_is_a_value_that_was_measured() -> None:
    hundred = [float(number) for number in range(100, 0, -1)]
    assert (percentile(hundred, 50), percentile(hundred, 99), percentile(hundred, 100)) == (
        50.0,
        99.0,
        100.0,
    )
    assert math.isnan(percentile([], 50))
