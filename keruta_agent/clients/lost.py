"""What became of a request without an answer, as the library's exceptions tell it."""

from __future__ import annotations

import ssl
from collections.abc import Iterator

import requests
import urllib3.exceptions

from keruta_agent.clients import bodies


def nothing_was_sent(exc: requests.RequestException) -> bool:
    """Tells whether a request surely did not reach the server."""
    if isinstance(exc, requests.ConnectTimeout | requests.exceptions.ProxyError):
        return True
    before_sending = (
        urllib3.exceptions.NewConnectionError,
        urllib3.exceptions.ConnectTimeoutError,
        ssl.SSLCertVerificationError,
    )
    return any(isinstance(cause, before_sending) for cause in _causes(exc))


def reason(exc: requests.RequestException) -> str:
    """Returns why there was no answer, as an addition to a sentence; empty when it is not known."""
    if isinstance(exc, requests.Timeout):
        return " (no answer in time)"
    if isinstance(exc, bodies.TooLargeError):
        return f" (its answer is larger than {bodies.LARGEST} bytes)"
    for cause in _causes(exc):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f" (its certificate is not trusted: {cause.verify_message})"
        if isinstance(cause, OSError) and cause.strerror and not isinstance(cause, ssl.SSLError):
            return f" ({cause.strerror})"
    return " (the connection broke off)" if isinstance(exc, requests.ConnectionError) else ""


def _causes(exc: BaseException) -> Iterator[BaseException]:
    """Yields an exception and those that led to it, also where a library hides them in ``args``."""
    waiting: list[object] = [exc]
    seen: set[int] = set()
    while waiting:
        current = waiting.pop(0)
        if not isinstance(current, BaseException) or id(current) in seen:
            continue
        seen.add(id(current))
        yield current
        waiting += [current.__cause__, current.__context__, getattr(current, "reason", None)]
        waiting += current.args
