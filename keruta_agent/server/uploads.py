"""Files that arrive by a form (multipart/form-data): streamed to disk and hashed on the way."""

from __future__ import annotations

import contextlib
import hashlib
import os
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import flask
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import ClientDisconnected, RequestEntityTooLarge
from werkzeug.formparser import FormDataParser

from keruta_agent.http.problems import Problem, invalid

#: Bytes of all form fields beside the file, and how many parts there may be.
_MAX_FIELDS_SIZE: Final = 1024 * 1024
_MAX_PARTS: Final = 20


class IncomingFile:
    """A file being received. It takes the place of a form parser's temporary file."""

    def __init__(self, directory: Path, *, limit: int | None = None) -> None:
        self.id = str(uuid.uuid4())
        self.size = 0
        self._limit = limit
        self._hash = hashlib.sha256()
        self._path = directory / self.id
        descriptor = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._file = os.fdopen(descriptor, "wb")

    def write(self, piece: bytes) -> int:
        """Append a piece.

        Raises:
            Problem: the file is larger than it may be (413).
        """
        self.size += len(piece)
        if self._limit is not None and self.size > self._limit:
            raise Problem(
                413, "ARTIFACT_TOO_LARGE", f"file: has more than {self._limit} bytes", field="file"
            )
        self._hash.update(piece)
        return self._file.write(piece)

    def seek(self, offset: int, whence: int = 0) -> int:
        """Do nothing: the parser rewinds what it has written, and nobody reads it here."""
        return offset

    @property
    def sha256(self) -> str:
        """Hash of everything received so far, in hex."""
        return self._hash.hexdigest()

    def keep(self, directory: Path) -> None:
        """Put the complete file in its place, where a power cut cannot take it away."""
        self._file.flush()
        os.fsync(self._file.fileno())
        self._file.close()
        self._path.rename(directory / self.id)
        _sync_directory(directory)

    def close(self) -> None:
        """Close the file and remove it unless it was kept."""
        self._file.close()
        self._path.unlink(missing_ok=True)


@contextlib.contextmanager
def received(
    directory: Path, *, limit: int | None = None
) -> Iterator[tuple[IncomingFile, FileStorage, Mapping[str, str]]]:
    """Receive the request's form: the part ``file``, as a file and as it was sent, and the fields.

    The field ``sha256`` is compared if it is sent. At the end of the block the file is removed
    unless it was kept.

    Raises:
        Problem: the form is broken, too large, or not whole.
    """
    with contextlib.ExitStack() as opened:

        def open_file(*_: Any, **__: Any) -> Any:
            return opened.enter_context(contextlib.closing(IncomingFile(directory, limit=limit)))

        parser = FormDataParser(
            stream_factory=open_file,
            max_form_memory_size=_MAX_FIELDS_SIZE,
            max_form_parts=_MAX_PARTS,
        )
        try:
            _, form, files = parser.parse_from_environ(flask.request.environ)
        except ClientDisconnected:
            raise Problem(400, "INVALID_INPUT", "the upload ended too early") from None
        except RequestEntityTooLarge:
            raise Problem(
                413, "BODY_TOO_LARGE", "the form's fields are too large, or too many"
            ) from None
        part = files.get("file")
        if part is None:
            raise invalid("file", "the form has no such part (multipart/form-data)")
        file: IncomingFile = part.stream  # type: ignore[assignment]
        expected = (form.get("sha256") or "").strip().lower()
        if expected and expected != file.sha256:
            raise invalid("sha256", f"the file that arrived has {file.sha256}")
        yield file, part, form


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
