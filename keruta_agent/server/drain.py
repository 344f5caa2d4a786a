"""Reads what a refused request still sends, so that the client gets to see the refusal.

Otherwise the connection is reset while the client is still writing, or the WSGI server reads all
the rest, a gigabyte perhaps, into memory at once.
"""

from __future__ import annotations

import flask

#: Set in the WSGI environment by ``serve.py``: ends the connection after this answer.
CLOSE_KEY = "keruta.close_connection"

#: Bytes; a client that still sends more than this is cut off.
MAX_DRAIN = 256 * 1024 * 1024
_PIECE = 64 * 1024


def read_rest(response: flask.Response) -> flask.Response:
    """Reads the unread rest of the request's body and throws it away."""
    environ = flask.request.environ
    stream = environ["wsgi.input"]
    left = min(getattr(stream, "remaining", 0), MAX_DRAIN)
    while left > 0:
        piece = stream.read(min(left, _PIECE))
        if not piece:
            break
        left -= len(piece)
    if getattr(stream, "remaining", 0) > 0 and CLOSE_KEY in environ:
        environ[CLOSE_KEY]()
    return response
