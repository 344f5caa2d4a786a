"""The address of a service as a person writes it, made into what requests can be built on."""

from __future__ import annotations

import dataclasses
import ipaddress
from urllib.parse import unquote, urlsplit

from keruta_agent.core import errors

#: Suffixes that people copy into the setting; the routes bring them along.
_API_SUFFIXES = ("/api/v1", "/api")


@dataclasses.dataclass(frozen=True, kw_only=True)
class BaseUrl:
    """The address of a service. ``url`` never holds a password, so that it can be shown."""

    #: Scheme, host, port and path without a slash at the end.
    url: str
    username: str
    password: str = dataclasses.field(repr=False)
    is_loopback: bool


def parse(text: str) -> BaseUrl:
    """Read the address of the keruta API.

    Raises:
        SettingsError: it is no http or https URL; the message does not repeat a password.
    """
    try:
        parts = urlsplit(text.strip())
        host, port = parts.hostname, parts.port
    except ValueError as exc:
        raise _not_an_address() from exc
    if parts.scheme not in ("http", "https") or not host or " " in host:
        raise _not_an_address()
    netloc = f"[{host}]" if ":" in host else host
    if port is not None:
        netloc = f"{netloc}:{port}"
    return BaseUrl(
        url=f"{parts.scheme}://{netloc}{_without_suffix(parts.path)}",
        username=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        is_loopback=is_loopback(host),
    )


def _not_an_address() -> errors.SettingsError:
    return errors.SettingsError(
        "The address of the keruta API is not an http or https URL",
        advice="Set KERUTA_API_URL to something like http://keruta-api:8080",
    )


def _without_suffix(path: str) -> str:
    path = path.rstrip("/")
    for suffix in _API_SUFFIXES:
        if path.endswith(suffix):
            return path[: -len(suffix)].rstrip("/")
    return path


def is_loopback(host: str) -> bool:
    """Return whether a host is this machine, seen from itself."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
