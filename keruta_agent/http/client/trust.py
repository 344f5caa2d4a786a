"""TLS as every client here speaks it: who is trusted, and an adapter that holds requests to it.

Without a choice the system's store is trusted, not the list that comes with a library: what the
owner of a machine or a network has added there counts.
"""

from __future__ import annotations

import os
import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import requests
from requests.adapters import HTTPAdapter

from keruta_agent.core import authorities, errors
from keruta_agent.core.authorities import Authorities


def context(ca_file: Path | None = None) -> ssl.SSLContext:
    """Return what checks the certificates of servers.

    Raises:
        SettingsError: the authorities that a setting or a variable names cannot be read.
    """
    chosen = authorities.named(os.environ, ca_file)
    if chosen is None:
        return _system()
    if (place := chosen.missing()) is not None:
        raise _unusable(chosen, f"{place} is not there")
    made = _system() if chosen.adds_to_system else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # As curl and newer Pythons: an authority in between may be the one that is trusted.
    made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    try:
        if chosen.file is not None:
            made.load_verify_locations(cafile=chosen.file)
        for directory in chosen.directories:
            made.load_verify_locations(capath=directory)
    except ssl.SSLError as exc:
        raise _unusable(chosen, "it holds no certificate in PEM form") from exc
    except OSError as exc:
        raise _unusable(chosen, f"it cannot be read: {exc.strerror}") from exc
    return made


def described(ca_file: Path | None = None) -> str:
    """Name the authorities that ``context`` trusts, for a message about a refused certificate."""
    chosen = authorities.named(os.environ, ca_file)
    return "the system's certificate authorities" if chosen is None else str(chosen)


def _system() -> ssl.SSLContext:
    # Here, because most connections are to this machine, without TLS.
    import truststore

    return truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


def _unusable(chosen: Authorities, reason: str) -> errors.SettingsError:
    return errors.SettingsError(
        f"the certificate authorities in {chosen} cannot be used: {reason}",
        advice=f"Correct {chosen.source}, or unset it to trust the system's",
    )


class TrustingAdapter(HTTPAdapter):
    """Connections of requests that trust what one context trusts, and nothing else."""

    def __init__(self, trusted: Callable[[], ssl.SSLContext]) -> None:
        """Take what gives the context, which is asked for at the first connection."""
        self._trusted = trusted
        super().__init__()

    def build_connection_pool_key_attributes(
        self, request: requests.PreparedRequest, verify: Any, cert: Any = None
    ) -> tuple[Any, Any]:
        """Return the attributes of a pool, with our context in place of a path of requests'."""
        host, pool = super().build_connection_pool_key_attributes(request, True, cert)
        return host, {**pool, "ssl_context": self._trusted()}

    def proxy_manager_for(self, proxy: str, **options: Any) -> Any:
        """Return the manager of a proxy, which is trusted as the servers behind it are."""
        if proxy.lower().startswith("https:"):
            options["proxy_ssl_context"] = self._trusted()
        return super().proxy_manager_for(proxy, **options)

    def cert_verify(self, conn: Any, url: Any, verify: Any, cert: Any) -> None:
        """Leave the trust to the context: requests would add the list that it comes with."""
