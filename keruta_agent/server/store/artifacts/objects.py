"""Objects of S3, or of another store that obstore knows, and how their failures read.

obstore lives here and nowhere else. Each request to the store waits for a bounded time and is
repeated a few times; obstore's own bounds are minutes. A store may not be inherited by a forked
process: it would hang there.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

from keruta_agent.core import authorities, errors
from keruta_agent.core.redaction.redactor import Redactor
from keruta_agent.server.store.artifacts.location import ArtifactLocation
from keruta_agent.server.store.artifacts.store import ArtifactStoreError

if TYPE_CHECKING:
    from obstore.store import ClientConfig, RetryConfig

#: Bytes of a part, and how many of an upload are sent at once; what is smaller is sent as a whole.
_PART: Final = 8 * 1024 * 1024
_PARTS_AT_ONCE: Final = 2
#: S3 takes 10,000 parts.
_MOST_PARTS: Final = 9_000

#: Seconds that one request may take: to read, and to write. S3 may need minutes to put the parts of
#: a large object together, and a second request to do so is about an upload that it has forgotten.
_READ_S: Final = 20
_WRITE_S: Final = 180
_CONNECT_S: Final = 3
#: Retries, and seconds after which none begins.
_RETRIES: Final = 3
_RETRY_S: Final = 20
#: Seconds that a hasty request may take.
_HASTY_S: Final = 2

_LONGEST_REASON: Final = 300
#: What failed at last, in the details of a failure, where its text says "error sending request".
_CAUSE: Final = re.compile(
    r'InvalidCertificate\(\s*(\w+)|(TimedOut)|"(failed to lookup [^"]*)"|message: "([^"]*)"'
)


class StoreRefusesError(ArtifactStoreError):
    """The store is there, and refuses: other keys or another bucket are needed."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Object:
    """An object in the store."""

    name: str
    modified_at: datetime


class Objects:
    """A store of objects, whose every failure is an ``ArtifactStoreError``."""

    def __init__(self, location: ArtifactLocation) -> None:
        """Take the settings from the environment; nothing is asked yet.

        Raises:
            SettingsError: the library is not installed, or cannot use the settings.
        """
        try:
            import obstore.store
        except ModuleNotFoundError:
            raise errors.SettingsError(
                f"the library for {location.url} is not installed",
                advice="Install it with: pip install 'keruta-agent[s3]'",
            ) from None
        self.url = location.url
        self._redactor = Redactor(location.secrets.values())
        self._library = obstore
        try:
            self._store, self._sink, self._hasty = (
                obstore.store.from_url(
                    location.url,
                    config=cast(Any, dict(location.secrets)),
                    client_options=_client(location, seconds),
                    retry_config=_retries(retries),
                )
                for seconds, retries in (
                    (_READ_S, _RETRIES),
                    (_WRITE_S, _RETRIES),
                    (_HASTY_S, 0),
                )
            )
        except (obstore.exceptions.BaseError, ValueError) as exc:
            raise errors.SettingsError(
                f"the artifact store {location.url} cannot be used: {self._reason(exc)}",
                advice="Check the URL and the variables of its keys, region and endpoint",
            ) from None

    async def put(self, name: str, file: Path, size: int) -> None:
        """Store a file as an object, all of it or nothing."""
        part = max(_PART, -(-size // _MOST_PARTS))
        with self._named_failures("store anything in"):
            await self._library.put_async(
                self._sink, name, file, chunk_size=part, max_concurrency=_PARTS_AT_ONCE
            )

    async def read(self, name: str, start: int, length: int) -> bytes:
        """Return bytes of an object; of no length, only look whether it is there.

        Raises:
            FileNotFoundError: there is no such object.
        """
        with self._named_failures("read from", missing_is_known=True):
            if not length:
                await self._library.head_async(self._store, name)
                return b""
            return bytes(
                await self._library.get_range_async(self._store, name, start=start, length=length)
            )

    def beginning(self, name: str, length: int) -> bytes:
        """Return the first bytes of an object that is not empty.

        Raises:
            FileNotFoundError: there is no such object.
        """
        with self._named_failures("read from", missing_is_known=True):
            return bytes(self._library.get_range(self._store, name, start=0, length=length))

    def batches(self, folder: str, size: int) -> Iterator[list[Object]]:
        """Yield the objects below a folder."""
        with self._named_failures("list"):
            for batch in self._library.list(self._store, folder, chunk_size=size):
                yield [
                    Object(name=each["path"].rpartition("/")[2], modified_at=each["last_modified"])
                    for each in batch
                ]

    def remove(self, names: Sequence[str]) -> None:
        """Remove objects, whether they are there or not."""
        with self._named_failures("remove from"), contextlib.suppress(FileNotFoundError):
            self._library.delete(self._store, list(names))

    def noted(self, name: str, text: str, *, hasty: bool = False) -> str:
        """Return the text of an object; note this one if there is none, unless another was faster.

        ``hasty`` gives up soon.
        """
        store = self._hasty if hasty else self._store
        with self._named_failures("reach"):
            with contextlib.suppress(FileNotFoundError):
                return bytes(self._library.get(store, name).bytes()).decode("utf-8", "replace")
            with contextlib.suppress(self._library.exceptions.AlreadyExistsError):
                self._library.put(store, name, text.encode(), mode="create")
            return bytes(self._library.get(store, name).bytes()).decode("utf-8", "replace")

    @contextlib.contextmanager
    def _named_failures(self, doing: str, *, missing_is_known: bool = False) -> Iterator[None]:
        refusals = (
            FileNotFoundError,  # no such bucket
            self._library.exceptions.PermissionDeniedError,
            self._library.exceptions.UnauthenticatedError,
        )
        known = FileNotFoundError if missing_is_known else ()
        try:
            yield
        except known:
            raise
        except (*refusals, self._library.exceptions.BaseError, OSError) as exc:
            kind = StoreRefusesError if isinstance(exc, refusals) else ArtifactStoreError
            raise kind(
                f"cannot {doing} the artifact store {self.url}: {self._reason(exc)}"
            ) from None

    def _reason(self, exc: Exception) -> str:
        """Return the beginning of what the library says; of the rest only what failed at last."""
        text, _, details = str(exc).partition("\n\nDebug source:")
        reason = " ".join(text.split())
        if cause := _CAUSE.search(details):
            reason += f" ({next(filter(None, cause.groups()))})"
        reason = self._redactor.redact(reason)
        return reason if len(reason) <= _LONGEST_REASON else reason[:_LONGEST_REASON] + " ..."


def _client(location: ArtifactLocation, seconds: float) -> ClientConfig:
    client: ClientConfig = {
        "allow_http": location.plain,
        "connect_timeout": timedelta(seconds=min(_CONNECT_S, seconds)),
        "timeout": timedelta(seconds=seconds),
    }
    chosen = authorities.named(os.environ)
    if chosen is not None and chosen.file is not None:
        try:
            client["root_certificate"] = chosen.file.read_bytes()
        except OSError as exc:
            raise errors.SettingsError(
                f"the certificate authorities in {chosen} cannot be read: {exc.strerror}"
            ) from exc
    return client


def _retries(retries: int) -> RetryConfig:
    return {
        "max_retries": retries,
        "retry_timeout": timedelta(seconds=_RETRY_S),
        "backoff": {
            "init_backoff": timedelta(seconds=0.1),
            "max_backoff": timedelta(seconds=2),
            "base": 2,
        },
    }
