"""The certificate with which a host speaks TLS."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from keruta_agent.core import errors


@dataclass(frozen=True)
class Tls:
    """Files in PEM form: a certificate with those that vouch for it, and its private key."""

    certificate: Path
    key: Path

    def context(self) -> ssl.SSLContext:
        """Read both files.

        Raises:
            AgentStateError: one cannot be read or used, or they do not belong together.
        """
        self._check_readable(self.certificate)
        self._check_readable(self.key)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        try:
            # Without a password OpenSSL would ask for one at the terminal.
            context.load_cert_chain(self.certificate, self.key, password=_no_password)
        except (ssl.SSLError, ValueError) as exc:
            raise self._unusable(_reason(exc)) from exc
        return context

    def _check_readable(self, path: Path) -> None:
        try:
            path.open("rb").close()
        except OSError as exc:
            raise self._unusable(f"{path}: {exc.strerror}") from exc

    def _unusable(self, reason: str) -> errors.AgentStateError:
        return errors.AgentStateError(
            f"cannot use the certificate {self.certificate} with the key {self.key}: {reason}",
            advice="Give a certificate (--tls-cert) and its key without a password (--tls-key), "
            "both in PEM form",
        )


def _no_password() -> str:
    raise ValueError("the key has a password")


def _reason(exc: Exception) -> str:
    if not isinstance(exc, ssl.SSLError):
        return str(exc)
    if exc.reason == "KEY_VALUES_MISMATCH":
        return "they do not belong together"
    return (exc.reason or "neither holds what it should").replace("_", " ").lower()
