"""Which certificate authorities are trusted, for every part that speaks TLS.

Each library reads variables of its own: requests knows REQUESTS_CA_BUNDLE and not SSL_CERT_FILE,
the model's client the other way round, and a git that was built with GnuTLS neither. Here they
are read once, in one order, so that what makes one connection trusted makes all of them trusted.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

#: Name bundles that stand in place of the system's authorities; the first one that is set counts.
BUNDLE_VARIABLES: Final = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
#: Name OpenSSL's file and directories; where only one is set, the system's other one stays.
FILE_VARIABLE: Final = "SSL_CERT_FILE"
DIRECTORY_VARIABLE: Final = "SSL_CERT_DIR"
VARIABLES: Final = (*BUNDLE_VARIABLES, FILE_VARIABLE, DIRECTORY_VARIABLE)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Authorities:
    """Where certificate authorities are kept, and which setting says so."""

    #: Setting or variable, for messages.
    source: str
    file: Path | None = None
    directories: tuple[Path, ...] = ()
    #: Whether the system's own are trusted as well.
    adds_to_system: bool = False

    def __str__(self) -> str:
        places = [self.file] if self.file else []
        return f"{', '.join(map(str, (*places, *self.directories)))} ({self.source})"

    def missing(self) -> Path | None:
        """Return the first place that is named and is not there."""
        if self.file is not None and not self.file.is_file():
            return self.file
        return next((place for place in self.directories if not place.is_dir()), None)


def named(environment: Mapping[str, str], ca_file: Path | None = None) -> Authorities | None:
    """Return the authorities that were chosen; None when the system's are to be trusted."""
    if ca_file is not None:
        return _bundle("api.ca_file", ca_file)
    for name in BUNDLE_VARIABLES:
        if value := environment.get(name):
            return _bundle(name, Path(value))
    file, directories = environment.get(FILE_VARIABLE), environment.get(DIRECTORY_VARIABLE)
    if not file and not directories:
        return None
    return Authorities(
        source=FILE_VARIABLE if file else DIRECTORY_VARIABLE,
        file=Path(file) if file else None,
        directories=tuple(map(Path, filter(None, (directories or "").split(os.pathsep)))),
        adds_to_system=True,
    )


def _bundle(source: str, place: Path) -> Authorities:
    if place.is_dir():
        return Authorities(source=source, directories=(place,))
    return Authorities(source=source, file=place)
