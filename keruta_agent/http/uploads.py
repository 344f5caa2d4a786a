"""Files that arrive by a form (multipart/form-data): streamed to disk and hashed on the way.

The event loop receives; threads of the application parse, hash and write, so that a slow client
holds no thread and a slow disk does not hold up the other clients.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Final

import python_multipart
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header
from starlette.requests import ClientDisconnect

from keruta_agent.http.problems import Problem, invalid
from keruta_agent.http.request import Request

#: Bytes of all form fields beside the file, and how many parts there may be.
_MAX_FIELDS_SIZE: Final = 1024 * 1024
_MAX_PARTS: Final = 20
#: Bytes that are gathered before a thread writes them: each hop costs a tenth of a millisecond.
_GATHERED: Final = 256 * 1024

Run = Callable[..., Awaitable[Any]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Destination:
    """Where the file of a form goes."""

    directory: Path
    #: Bytes, None for any number.
    limit: int | None = None
    #: Brings a file that was completely received to where it is kept, before the view is called;
    #: at its end the file is kept or not. None where the view itself does that.
    delivered: Callable[[IncomingFile], AbstractAsyncContextManager[None]] | None = None


class IncomingFile:
    """A file being received: in its directory under its id, until it is kept."""

    def __init__(self, destination: Destination) -> None:
        self.id = str(uuid.uuid4())
        self.size = 0
        #: Whether it was brought to where it is kept, if that is elsewhere.
        self.is_delivered = False
        #: Whether it belongs to something that was stored, or is about to be.
        self.is_kept = False
        self._limit = destination.limit
        self._hash = hashlib.sha256()
        #: Where it is until it is kept.
        self.path = destination.directory / self.id
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        self._file = os.fdopen(descriptor, "wb")

    def write(self, piece: bytes) -> None:
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
        self._file.write(piece)

    @property
    def sha256(self) -> str:
        """Hash of everything received so far, in hex."""
        return self._hash.hexdigest()

    def complete(self) -> None:
        """Let others read all of it."""
        self._file.flush()

    def keep(self, directory: Path) -> None:
        """Put the complete file in its place, where a power cut cannot take it away."""
        self.is_kept = True
        os.fsync(self._file.fileno())
        self._file.close()
        self.path.rename(directory / self.id)
        _sync_directory(directory)

    def close(self) -> None:
        """Close the file and remove it unless it was kept."""
        self._file.close()
        self.path.unlink(missing_ok=True)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Form:
    """A form with one file, completely received."""

    file: IncomingFile
    #: As the client named the file, and its type in lower case.
    name: str
    media_type: str
    fields: Mapping[str, str]


@contextlib.asynccontextmanager
async def received(request: Request, destination: Destination, run: Run) -> AsyncIterator[Form]:
    """Receive the form of a request; at its end the file is removed unless it was kept.

    The field ``sha256`` is compared if it is sent.

    Args:
        request: its body is the form.
        destination: where the file goes.
        run: calls a function in a thread.

    Raises:
        Problem: the form is broken, too large, or incomplete.
    """
    parser = _Parser(request, destination)
    try:
        form = await _receive(request, parser, run)
        if destination.delivered is None:
            yield form
        else:
            async with destination.delivered(form.file):
                yield form
    finally:
        await run(parser.close)


async def _receive(request: Request, parser: _Parser, run: Run) -> Form:
    gathered = bytearray()
    try:
        async for piece in request.stream():
            gathered += piece
            if len(gathered) >= _GATHERED:
                full, gathered = gathered, bytearray()
                await run(parser.feed, bytes(full))
    except ClientDisconnect:
        raise invalid("file", "the upload ended too early") from None
    form: Form = await run(parser.finish, bytes(gathered))
    return form


class _Parser:
    """The parts of a form: one file, and fields."""

    def __init__(self, request: Request, destination: Destination) -> None:
        self._destination = destination
        self._file: IncomingFile | None = None
        self._file_name = ""
        self._media_type = ""
        self._fields: dict[str, str] = {}
        self._fields_size = 0
        self._parts = 0
        self._is_whole = False
        self._header_name = b""
        self._header_value = b""
        self._headers: dict[bytes, bytes] = {}
        self._field: str | None = None
        self._text = bytearray()
        self._is_file = False
        self._parser = self._new_parser(request)

    def _new_parser(self, request: Request) -> python_multipart.MultipartParser | None:
        kind, options = parse_options_header(request.headers.get("Content-Type"))
        boundary = options.get(b"boundary")
        if kind != b"multipart/form-data" or not boundary:
            return None
        return python_multipart.MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin_part,
                "on_header_field": self._add_header_name,
                "on_header_value": self._add_header_value,
                "on_header_end": self._end_header,
                "on_headers_finished": self._open_part,
                "on_part_data": self._add_data,
                "on_part_end": self._end_part,
                "on_end": self._end,
            },
        )

    def feed(self, piece: bytes) -> None:
        """Take the next bytes of the body.

        Raises:
            Problem: the form is broken, or too large.
        """
        if self._parser is None:
            raise invalid("file", "the form has no such part (multipart/form-data)")
        try:
            self._parser.write(piece)
        except FormParserError as exc:
            raise invalid("file", f"the form is broken: {exc}") from exc

    def finish(self, piece: bytes) -> Form:
        """Return the form, whose last bytes these are.

        Raises:
            Problem: it is broken, too large, or incomplete.
        """
        self.feed(piece)
        if not self._is_whole:
            raise invalid("file", "the upload ended too early")
        if self._file is None:
            raise invalid("file", "the form has no such part (multipart/form-data)")
        expected = self._fields.get("sha256", "").strip().lower()
        if expected and expected != self._file.sha256:
            raise invalid("sha256", f"the file that arrived has {self._file.sha256}")
        self._file.complete()
        return Form(
            file=self._file,
            name=self._file_name,
            media_type=self._media_type,
            fields=self._fields,
        )

    def close(self) -> None:
        """Remove the file unless it was kept."""
        if self._file is not None:
            self._file.close()

    def _begin_part(self) -> None:
        self._parts += 1
        if self._parts > _MAX_PARTS:
            raise _too_much()
        self._headers = {}
        self._text = bytearray()

    def _add_header_name(self, data: bytes, start: int, end: int) -> None:
        self._header_name += data[start:end]

    def _add_header_value(self, data: bytes, start: int, end: int) -> None:
        self._header_value += data[start:end]

    def _end_header(self) -> None:
        self._headers[self._header_name.lower()] = self._header_value
        self._header_name = self._header_value = b""

    def _open_part(self) -> None:
        _, options = parse_options_header(self._headers.get(b"content-disposition"))
        name = options.get(b"name", b"").decode("utf-8", "replace")
        is_upload = b"filename" in options
        self._is_file = is_upload and name == "file" and self._file is None
        # Other files are read past; of equal fields the first counts.
        self._field = None if is_upload or name in self._fields else name
        if not self._is_file:
            return
        self._file_name = options[b"filename"].decode("utf-8", "replace")
        kind, _ = parse_options_header(self._headers.get(b"content-type"))
        self._media_type = kind.decode("latin-1").strip().lower()
        self._file = IncomingFile(self._destination)

    def _add_data(self, data: bytes, start: int, end: int) -> None:
        if self._is_file and self._file is not None:
            self._file.write(data[start:end])
        elif self._field is not None:
            self._fields_size += end - start
            if self._fields_size > _MAX_FIELDS_SIZE:
                raise _too_much()
            self._text += data[start:end]

    def _end_part(self) -> None:
        if not self._is_file and self._field is not None:
            self._fields[self._field] = self._text.decode("utf-8", "replace")

    def _end(self) -> None:
        self._is_whole = True


def _too_much() -> Problem:
    return Problem(413, "BODY_TOO_LARGE", "the form's fields are too large, or too many")


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
