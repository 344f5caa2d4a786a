"""The body of an answer, read whole, with limits of size and time.

The library's time limit is one between two bytes, and it has none for how many there are: a server
that sends a byte now and then, or bytes without an end, would hold its caller for ever.
"""

from __future__ import annotations

import time
from typing import Final

import requests
import urllib3.exceptions

#: Bytes of the largest answer that is read, unless its caller says otherwise.
LARGEST: Final = 64 * 1024 * 1024
_PIECE: Final = 64 * 1024


class TooLargeError(requests.RequestException):
    """An answer is larger than any that is valid."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        #: Bytes of the largest valid answer.
        self.limit = limit


def read(response: requests.Response, limit_s: float, largest: int | None = None) -> None:
    """Read the body of an answer that was asked for as a stream; ``content`` has it then.

    Raises:
        RequestException: it breaks off, takes too long, or is too large.
    """
    try:
        limit = LARGEST if largest is None else largest
        response._content = _read(response, time.monotonic() + limit_s, limit)
    except BaseException:
        response.close()  # what follows in it is of no use
        raise
    response.raw.release_conn()


def _read(response: requests.Response, deadline: float, limit: int) -> bytes:
    body = bytearray()
    try:
        while piece := response.raw.read1(_PIECE, decode_content=True):
            body += piece
            if len(body) > limit:
                raise TooLargeError(limit)
            if time.monotonic() > deadline:
                raise requests.exceptions.ReadTimeout("the answer takes too long")
    except urllib3.exceptions.ReadTimeoutError as exc:
        raise requests.exceptions.ReadTimeout(exc) from exc
    except urllib3.exceptions.DecodeError as exc:
        raise requests.exceptions.ContentDecodingError(exc) from exc
    except urllib3.exceptions.HTTPError as exc:
        raise requests.exceptions.ChunkedEncodingError(exc) from exc
    return bytes(body)
