"""The client of the Artifact Store, for the evidence of runs.

Contents are streamed and hashed both ways. Only what the store itself holds is ever fetched: a URI
is taken from a task's records, and might lead anywhere.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final
from urllib.parse import SplitResult, quote, urlsplit

import requests

from keruta_agent.core import errors
from keruta_agent.http.client import answers, base_url
from keruta_agent.http.client.multipart import MultipartBody
from keruta_agent.runner.services.service import RetryPolicy, ServiceClient

_PIECE: Final = 64 * 1024  # bytes


class ArtifactStoreClient(ServiceClient):
    """Diffs, logs and test results."""

    service = "Artifact Store"
    setting = "artifact_store_url"
    port = 8003
    key_variable = "ARTIFACT_STORE_API_KEY"

    def __init__(
        self,
        base_url: str,
        timeout: float = 60,
        *,
        api_key: str | None = None,
        retry_config: RetryPolicy | None = None,
    ) -> None:
        super().__init__(base_url, timeout, api_key=api_key, retry_config=retry_config)

    def upload(
        self,
        artifact_type: str,
        content: bytes | Path,
        metadata: Mapping[str, Any] | None = None,
    ) -> str:
        """Store bytes, or a file that is read while it leaves, and return the URI.

        Raises:
            RunnerError: the store refused, broke, or cannot be reached.
            OSError: the file cannot be read.
        """
        with _opened(content) as file:
            fields = {
                "type": str(artifact_type),
                "metadata": json.dumps(dict(metadata or {}), ensure_ascii=False),
                "sha256": _hash_of(file),
            }
            key = str(uuid.uuid4())

            def once() -> object:
                body = MultipartBody(
                    fields, file=file, filename="file", file_type="application/octet-stream"
                )
                response = self._http.upload(
                    self.service,
                    "/artifacts",
                    body,
                    content_type=body.content_type,
                    key=key,
                    timeout_s=self.timeout,
                )
                return answers.body_of(response)

            answer = self._tried(f"upload the {artifact_type} artifact", once)
        uri = answer.get("uri") if isinstance(answer, dict) else None
        if not uri or not isinstance(uri, str):
            raise errors.ServiceError(
                f"Invalid artifact upload response from {self.base_url}: it lacks the uri"
            )
        return uri

    def upload_text(
        self, artifact_type: str, content: str, metadata: Mapping[str, Any] | None = None
    ) -> str:
        """Store a text as UTF-8 and return its URI."""
        return self.upload(artifact_type, content.encode("utf-8", "replace"), metadata)

    def download(self, uri: str) -> bytes:
        """Return the bytes behind a URI of this store.

        Raises:
            SecurityError: the URI leads elsewhere.
            RunnerError: there is nothing, what arrived is damaged, or the store is away.
        """
        return self._tried(f"download {uri}", lambda: b"".join(self._pieces(uri)))

    def download_to(self, uri: str, path: Path) -> None:
        """Write the bytes behind a URI of this store into a file that is not there yet."""

        def once() -> None:
            with path.open("wb") as file:
                file.writelines(self._pieces(uri))

        self._tried(f"download {uri}", once)

    def download_text(self, uri: str) -> str:
        """Return the text behind a URI of this store."""
        return self.download(uri).decode("utf-8", "replace")

    def get_metadata(self, uri: str) -> dict[str, Any]:
        """Return what the store knows of an artifact.

        Raises:
            RunnerError: there is nothing, or the store cannot be reached.
        """
        doing = f"get the metadata of {uri}"
        return self._read(doing, "/artifacts/metadata", "metadata", {"uri": uri})

    def _pieces(self, uri: str) -> Iterator[bytes]:
        """Yield what is behind a URI, and check it against the hash that the store tells."""
        received = hashlib.sha256()
        path = self._own_path(uri)
        with self._http.stream(
            self.service, path, silence_s=self.timeout, anywhere=False
        ) as response:
            try:
                for piece in response.iter_content(_PIECE):
                    received.update(piece)
                    yield piece
            except requests.RequestException as exc:
                raise errors.ApiAmbiguous(
                    f"{self.service} failed: the connection broke off"
                ) from exc
        expected = _hash_in(response.headers.get("Repr-Digest", ""))
        if expected is not None and expected != received.digest():
            raise errors.ApiAmbiguous(f"{self.service} failed: what arrived of {uri} is damaged")

    def _own_path(self, uri: str) -> str:
        """Return the path of an artifact at this store."""
        mine = urlsplit(self.base_url)
        try:
            given = urlsplit(uri)
            is_mine = _place(given) == _place(mine)
        except ValueError:
            is_mine = False
        path = given.path.removeprefix(mine.path) if is_mine else ""
        parts = path.split("/")
        if not path.startswith("/artifacts/") or ".." in parts or "." in parts or given.fragment:
            raise errors.SecurityError(
                f"Failed to download {uri!r}: it is no artifact of the store at {self.base_url}"
            )
        quoted = quote(path, safe="/%:@!$&'()*+,;=~-._")
        return f"{quoted}?{given.query}" if given.query else quoted


def _hash_of(file: BinaryIO) -> str:
    hashed = hashlib.sha256()
    while piece := file.read(_PIECE):
        hashed.update(piece)
    return hashed.hexdigest()


def _place(parts: SplitResult) -> tuple[str, str, int | None]:
    """Return the host of an address; the names of this machine are one."""
    host = (parts.hostname or "").lower()
    if host and base_url.is_loopback(host):
        host = "localhost"
    return parts.scheme, host, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _hash_in(header: str) -> bytes | None:
    """Return the SHA-256 in a Repr-Digest (RFC 9530), None when there is none to be read."""
    for entry in header.split(","):
        name, _, value = entry.strip().partition("=")
        if name.lower() == "sha-256" and value.startswith(":") and value.endswith(":"):
            with contextlib.suppress(ValueError):
                return base64.b64decode(value[1:-1], validate=True)
    return None


@contextlib.contextmanager
def _opened(content: bytes | Path) -> Iterator[BinaryIO]:
    with io.BytesIO(content) if isinstance(content, bytes) else content.open("rb") as file:
        yield file
