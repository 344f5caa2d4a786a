"""The certificate authorities that git trusts: those of every other part of keruta.

Git reads none of the usual variables: SSL_CERT_FILE is OpenSSL's, and many a git is built with
GnuTLS. What is set up for git itself goes first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from keruta_agent.core import authorities

#: Names of the settings with which a user says to git whom it is to trust.
OWN_SETTINGS: Final = r"^http\.(.*\.)?sslca(info|path)$"
_OWN_VARIABLES: Final = ("GIT_SSL_CAINFO", "GIT_SSL_CAPATH")


def variables(
    environment: Mapping[str, str], has_own_setting: Callable[[], bool]
) -> dict[str, str]:
    """Return the variables that make git trust the authorities of this environment."""
    chosen = authorities.named(environment)
    if chosen is None or any(environment.get(name) for name in _OWN_VARIABLES):
        return {}
    if has_own_setting():
        return {}
    found = {}
    if chosen.file is not None:
        found["GIT_SSL_CAINFO"] = str(chosen.file)
    if chosen.directories:  # git knows one
        found["GIT_SSL_CAPATH"] = str(chosen.directories[0])
    return found
