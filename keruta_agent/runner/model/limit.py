"""A limit on the size of answers: a body is read as a whole, and would fill the memory."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

#: Bytes of a server's answer that are read.
LARGEST: Final = 32 * 1024 * 1024
#: Of one that is compressed: it may become a thousand times as long when it is read.
LARGEST_PACKED: Final = 1024 * 1024


class TooLongError(Exception):
    """An answer is longer than what is read of one."""


def limit(response: Any) -> None:
    """Fail a response whose body becomes too long."""
    most = LARGEST_PACKED if response.headers.get("content-encoding") else LARGEST
    stream = response.stream

    class Limited(type(stream)):  # type: ignore[misc]  # the library is loaded when it is used
        def __init__(self) -> None:
            pass

        def __iter__(self) -> Iterator[bytes]:
            length = 0
            for piece in stream:
                length += len(piece)
                if length > most:
                    raise TooLongError(f"its answer is longer than {most} bytes")
                yield piece

        def close(self) -> None:
            stream.close()

    response.stream = Limited()
