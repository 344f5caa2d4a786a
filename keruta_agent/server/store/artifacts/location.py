"""The URL of an artifact store, as the server is given it.

Keys are no part of it: other users of the machine see a command line. They come from the variables
that the store's own tools read, and leave the environment here, so that no process that the server
starts inherits them.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, MutableMapping
from typing import Final, Self
from urllib.parse import SplitResult, urlsplit

from keruta_agent.core import errors

_SCHEMES: Final = ("s3", "gs", "az")
#: By schemes: variables that hold secrets, each called so in the store's settings, too.
_SECRETS: Final[Mapping[str, tuple[str, ...]]] = {
    "s3": ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"),
    "gs": (),
    "az": ("AZURE_STORAGE_ACCOUNT_KEY", "AZURE_STORAGE_SAS_KEY", "AZURE_STORAGE_CLIENT_SECRET"),
}
_ENDPOINTS: Final = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
_ADVICE: Final = "Give --artifact-store s3://BUCKET/PREFIX, or file: for the data directory"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ArtifactLocation:
    """A store of objects, and the keys to it."""

    #: Without a slash at its end.
    url: str
    #: Settings of the store that nobody else may see.
    secrets: Mapping[str, str] = dataclasses.field(default_factory=dict, repr=False)
    #: Whether the store is asked without encryption: its endpoint says so.
    plain: bool = False

    @classmethod
    def read(cls, url: str | None, environment: MutableMapping[str, str]) -> Self | None:
        """Return the store that a URL names; None for the data directory.

        Its secrets are taken out of the environment.

        Raises:
            SettingsError: the URL is invalid, or holds a password.
        """
        if url is None or url in ("", "file:"):
            return None
        parts = _parts(url)
        names = [name for name in _SECRETS[parts.scheme] if name in environment]
        return cls(
            url=url.rstrip("/"),
            secrets={name.lower(): environment.pop(name) for name in names},
            plain=parts.scheme == "s3" and _endpoint_is_plain(environment),
        )

    def below(self, name: str) -> Self:
        """Return a part of the store, as a directory has subdirectories."""
        return dataclasses.replace(self, url=f"{self.url}/{name}")


def _parts(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
    except ValueError:
        raise _invalid("cannot be read") from None
    if parts.username is not None or parts.password is not None or parts.query:
        raise errors.SettingsError(
            "the URL of the artifact store holds more than bucket and prefix",
            advice="Give keys by variables such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        )
    if parts.scheme == "file":
        raise _invalid("names a directory; files are kept in the data directory (--data)")
    if parts.scheme not in _SCHEMES:
        raise _invalid(f"begins with {parts.scheme or 'no scheme'!r}")
    if not parts.netloc or parts.fragment:
        raise _invalid("names no bucket" if not parts.netloc else "has a fragment")
    steps = parts.path.strip("/").split("/")
    if parts.path.strip("/") and not all(step.strip(".") for step in steps):
        raise _invalid("has an empty step in its path, or '..'")
    return parts


def _endpoint_is_plain(environment: Mapping[str, str]) -> bool:
    """Return whether the endpoint that is set is asked by plain HTTP.

    Raises:
        SettingsError: it is no address; the store's library would end the process.
    """
    for name in _ENDPOINTS:
        endpoint = environment.get(name)
        if not endpoint:
            continue
        try:
            parts = urlsplit(endpoint)
            is_one = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:
            is_one = False
        if not is_one or not endpoint.isascii() or not endpoint.isprintable() or " " in endpoint:
            raise errors.SettingsError(
                f"{name} is no address", advice="Write it like https://storage.example.com:9000"
            )
        if endpoint.startswith("http:"):
            return True
    return False


def _invalid(reason: str) -> errors.SettingsError:
    return errors.SettingsError(f"the URL of the artifact store {reason}", advice=_ADVICE)
