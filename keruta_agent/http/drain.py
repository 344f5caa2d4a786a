"""The drain of refused requests: their rest is read, so that the client sees the refusal.

Otherwise the connection is reset while the client is still writing, or the WSGI server reads all
the rest, a gigabyte perhaps, into memory at once.
"""

from __future__ import annotations

from typing import Any

import flask

#: Set in the WSGI environment by ``listener.py``: ends the connection after this answer.
CLOSE_KEY = "keruta.close_connection"

_CHUNKED_KEY = "wsgi.input_terminated"

#: Bytes; a client that still sends more than this is cut off.
MAX_DRAIN = 256 * 1024 * 1024
_PIECE = 64 * 1024


def read_rest(response: flask.Response) -> flask.Response:
    """Read the unread rest of the request's body and discard it."""
    environ = flask.request.environ
    stream = environ["wsgi.input"]
    if CLOSE_KEY in environ and not _read_to_the_end(stream, chunked=environ[_CHUNKED_KEY]):
        environ[CLOSE_KEY]()
    return response


def _read_to_the_end(stream: Any, *, chunked: bool) -> bool:
    left = MAX_DRAIN
    while chunked or stream.remaining:
        if left <= 0:
            return False
        try:
            piece = stream.read(_PIECE)
        except (OSError, ValueError):
            # The client went away, or what it sends is no chunk.
            return False
        if not piece:
            return chunked or not stream.remaining
        left -= len(piece)
    return True
