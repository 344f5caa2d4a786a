"""What a reverse proxy says of a request: the path of the application, HTTPS, and the peer.

Only a proxy may say that: any program or web page can send such headers. The name of the host is
never taken from them, because by it the own pages are known from those of another site.
"""

from __future__ import annotations

import dataclasses
import ipaddress
import re
from collections.abc import Container, Sequence
from typing import Final

from starlette.types import Scope

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_PREFIX_HEADER: Final = b"x-forwarded-prefix"
_PROTO_HEADER: Final = b"x-forwarded-proto"
_FOR_HEADER: Final = b"x-forwarded-for"
#: Addresses in a header that are looked at; no chain of proxies is longer.
_MOST_HOPS: Final = 20
#: Marks that need no quotes in an address, a header or a page.
_PREFIX: Final = re.compile(r"(?:/[\w@.~-]+)*/?", re.ASCII)
_LONGEST_PREFIX: Final = 200


def prefix_of(text: str) -> str:
    """Return a path that a proxy serves an application under, without a slash at its end.

    Raises:
        ValueError: it could lead elsewhere.
    """
    steps = text.split("/")
    if len(text) > _LONGEST_PREFIX or not _PREFIX.fullmatch(text) or {".", ".."} & set(steps):
        raise ValueError(
            f"{text!r} is no path such as /tools/keruta: of letters, digits and the marks @.~_-"
        )
    return text.rstrip("/")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Proxies:
    """The proxies of one application."""

    #: The path it is under where no proxy names one.
    root_path: str = ""
    #: Where proxies are believed, beside those on this machine.
    trusted: Sequence[Network] = ()

    def apply(self, scope: Scope, own_steps: Container[str]) -> None:
        """Have the scope of a request say by which address the client came.

        Args:
            scope: of the request; its path may begin with the prefix, or the proxy has cut it off.
            own_steps: the first steps of the application's own paths. A prefix that begins with
                one of them could not be distinguished from it, and counts as cut off.
        """
        prefix, is_https = self._forwarded(scope)
        if is_https:
            scope["scheme"] = "https"
        if not prefix:
            return
        path = scope["path"]
        is_cut_off = prefix.split("/")[1] in own_steps
        if is_cut_off or not f"{path}/".startswith(f"{prefix}/"):
            path = prefix + path
        scope["root_path"] = prefix
        scope["path"] = f"{prefix}/" if path == prefix else path

    def peer(self, scope: Scope) -> str:
        """Return the address that a request came from, as far as proxies are believed.

        It is the last one in ``X-Forwarded-For`` that is no trusted proxy's: those before it are
        what a client itself may have sent.
        """
        client = scope.get("client")
        found = "" if client is None else str(client[0])
        if not self._is_trusted(client):
            return found
        said = b",".join(value for name, value in scope["headers"] if name == _FOR_HEADER)
        for hop in reversed(said.decode("latin-1").split(",")[-_MOST_HOPS:]):
            address = _address_in(hop)
            if address is None:
                break
            found = str(address)
            if not self._is_trusted((found, 0)):
                break
        return found

    def _forwarded(self, scope: Scope) -> tuple[str, bool]:
        """Return the prefix and whether the client came by HTTPS, as far as that is believed."""
        headers = {
            name: value
            for name, value in scope["headers"]
            if name in (_PREFIX_HEADER, _PROTO_HEADER)
        }
        if not headers or not self._is_trusted(scope.get("client")):
            return self.root_path, False
        prefix = self.root_path
        if _PREFIX_HEADER in headers:
            try:
                prefix = prefix_of(headers[_PREFIX_HEADER].decode("latin-1"))
            except ValueError:
                prefix = self.root_path
        return prefix, headers.get(_PROTO_HEADER, b"").lower() == b"https"

    def _is_trusted(self, client: tuple[str, int] | None) -> bool:
        if client is None:  # on a Unix socket
            return True
        try:
            address = ipaddress.ip_address(client[0])
        except ValueError:
            return False
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return address.is_loopback or any(address in network for network in self.trusted)


def _address_in(hop: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the address in an entry of ``X-Forwarded-For``, which may have a port."""
    text = hop.strip().strip('"')
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
        return address.ipv4_mapped
    return address
