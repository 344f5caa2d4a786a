"""Where a redirect may take a request.

A write goes on with its method and its body as long as it stays on the host that it was meant
for: what browsers do, a GET in its place, would report nothing and look like success. TLS is never
given up, and the credentials of one host are never shown to another.
"""

from __future__ import annotations

from typing import Final
from urllib.parse import urljoin, urlsplit

import requests

#: Redirects of one request that are followed; a slash, https and a new name make three.
MOST: Final = 5
#: Says that the write was done and that something else is to be read; no write is repeated there.
SEE_OTHER: Final = 303
_PERMANENT: Final = frozenset({301, 308})
_PORTS: Final = {"http": 80, "https": 443}


def target(response: requests.Response) -> str | None:
    """Return the address that an answer leads to, None when it leads nowhere."""
    location = response.headers.get("Location")
    if location is None or not response.is_redirect:
        return None
    # Header bytes are read as Latin-1; servers write UTF-8.
    text = location.encode("latin-1", "replace").decode("utf-8", "replace")
    try:
        found = urljoin(response.url, text)
        return found if _origin(found)[1] else None
    except ValueError:  # no address at all
        return None


def stays(origin: str, address: str) -> bool:
    """Return whether an address is on the same host as another, with TLS at least as before.

    Another port is another service, which may be somebody else's; only from http to https does
    the port change, and then the certificate proves whose it is.
    """
    before, after = _origin(origin), _origin(address)
    is_upgrade = before[0] == "http" and after[0] == "https" and before[1] == after[1]
    return before == after or is_upgrade


def gives_up_tls(origin: str, address: str) -> bool:
    """Return whether the way from one address to another loses TLS."""
    return _origin(origin)[0] == "https" and _origin(address)[0] != "https"


def moved_base(response: requests.Response, path: str) -> str | None:
    """Return the base address that a redirect names, when it changes nothing else."""
    led_to = target(response)
    parts = urlsplit(led_to or "")
    if led_to is None or not path or not parts.path.endswith(path):
        return None
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path.removesuffix(path)}"


def is_permanent(response: requests.Response) -> bool:
    """Return whether a redirect is to be remembered."""
    return response.status_code in _PERMANENT


def shown(address: str) -> str:
    """Return an address without what may be secret in it."""
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"


def _origin(address: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(address)
    return parts.scheme, parts.hostname, parts.port or _PORTS.get(parts.scheme)
