"""What became of a request without an answer, as the library's exceptions tell it."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from typing import Final

import requests
import urllib3.exceptions

from keruta_agent.core import errors
from keruta_agent.http.client import bodies, redirects

#: OpenSSL's codes (X509_V_ERR_...) of what another authority would not change, and what to do.
_CERTIFICATE_ADVICE: Final = {
    9: "Set the clock of this machine",  # not yet valid
    10: "Renew the server's certificate, or set the clock of this machine",  # has expired
    62: "Use a name of the server that its certificate holds",  # wrong host name
    64: "Use a name of the server that its certificate holds",  # wrong IP address
}
_AUTHORITY_ADVICE: Final = (
    "Name the authority that signed it: api.ca_file (KERUTA_API_CA_FILE) for the API alone, "
    "SSL_CERT_FILE for everything"
)

#: What is raised about a proxy: it cannot be reached, refuses, or its address is not a valid URL.
_OF_THE_PROXY: Final = (requests.exceptions.ProxyError, requests.exceptions.InvalidProxyURL)
_TUNNEL_REFUSED: Final = re.compile(r"Tunnel connection failed: (\d{3})")

#: What OpenSSL calls an answer in plain HTTP.
_NO_TLS: Final = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "RECORD_LAYER_FAILURE")


def error_of(
    exc: requests.RequestException, action: str, url: str, *, read_only: bool, trusted: str
) -> errors.ApiError:
    """Return the error for a request to a service that got no answer.

    The text of the library's exceptions is not used: it is long, and speaks of itself.

    Args:
        exc: what the library raised.
        action: what was being done.
        url: the service's address.
        read_only: whether the request may have changed nothing.
        trusted: whose certificates are trusted, in words.
    """
    if isinstance(exc, requests.TooManyRedirects):
        return errors.ApiFailed(f"{action} failed: {url} redirects without an end")
    whom = _whom(exc, url)
    refusal = _certificate_refusal(exc)
    if refusal is not None:
        return errors.ApiUnreachable(
            f"{action} failed: the certificate of {whom} is not trusted "
            f"({refusal.verify_message}; trusted are {trusted})",
            advice=_CERTIFICATE_ADVICE.get(refusal.verify_code, _AUTHORITY_ADVICE),
        )
    if isinstance(exc, _OF_THE_PROXY) or _wants_socks(exc):
        return errors.ApiUnreachable(
            f"{action} failed: the proxy before {whom} cannot be used{_reason_of_proxy(exc)}",
            advice="Correct HTTPS_PROXY (or HTTP_PROXY, ALL_PROXY), or name the host in NO_PROXY",
        )
    if read_only or nothing_was_sent(exc):
        return errors.ApiUnreachable(f"{action} failed: {whom} cannot be reached{reason(exc)}")
    return errors.ApiAmbiguous(
        f"{action} failed: the answer of {whom} was lost{reason(exc)}",
        advice="It may have been stored: look before sending it again",
    )


def _whom(exc: requests.RequestException, url: str) -> str:
    """Name the service that did not answer, or the target of its redirect."""
    asked = getattr(exc.request, "url", None)
    if not asked or asked.startswith(f"{url}/"):
        return url
    return f"{redirects.shown(asked)}, where {url} leads,"


def _wants_socks(exc: requests.RequestException) -> bool:
    return isinstance(exc, requests.exceptions.InvalidSchema) and "SOCKS" in str(exc)


def _reason_of_proxy(exc: requests.RequestException) -> str:
    if _wants_socks(exc):
        return " (it is one of SOCKS; the agent speaks to those of http and https)"
    if isinstance(exc, requests.exceptions.InvalidProxyURL):
        return " (its address is not a valid URL)"
    refusals = (_TUNNEL_REFUSED.search(str(cause)) for cause in _causes(exc))
    status = next((found[1] for found in refusals if found), None)
    return reason(exc) if status is None else f" (it answers {status})"


def _certificate_refusal(exc: requests.RequestException) -> ssl.SSLCertVerificationError | None:
    found = (cause for cause in _causes(exc) if isinstance(cause, ssl.SSLCertVerificationError))
    return next(found, None)


def nothing_was_sent(exc: requests.RequestException) -> bool:
    """Return whether a request surely did not reach the server."""
    if isinstance(exc, (requests.ConnectTimeout, *_OF_THE_PROXY)):
        return True
    before_sending = (
        urllib3.exceptions.NewConnectionError,
        urllib3.exceptions.ConnectTimeoutError,
        ssl.SSLCertVerificationError,
    )
    return any(isinstance(cause, before_sending) for cause in _causes(exc))


def reason(exc: requests.RequestException) -> str:
    """Return why there was no answer, as an addition to a sentence; empty when it is not known."""
    if isinstance(exc, requests.Timeout):
        return " (no answer in time)"
    if isinstance(exc, bodies.TooLargeError):
        return f" (its answer is larger than {exc.limit} bytes)"
    for cause in _causes(exc):
        if isinstance(cause, ssl.SSLError) and cause.reason in _NO_TLS:
            return " (it does not answer with TLS: is its address http and not https?)"
        if isinstance(cause, OSError) and cause.strerror and not isinstance(cause, ssl.SSLError):
            return f" ({cause.strerror})"
    return " (the connection broke off)" if isinstance(exc, requests.ConnectionError) else ""


def _causes(exc: BaseException) -> Iterator[BaseException]:
    """Yield an exception and those that led to it, also where a library hides them in ``args``."""
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
