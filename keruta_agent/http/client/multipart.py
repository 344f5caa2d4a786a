"""A multipart/form-data body that is read from disk while it is being sent.

requests builds such bodies in memory; artifacts may be larger than the memory of a workspace.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterator, Mapping
from typing import BinaryIO

_BLOCK = 64 * 1024  # bytes


class MultipartBody:
    """Some text fields and one file, as a file-like object whose length is known beforehand.

    ``read``, ``__iter__`` and ``__len__`` are what requests and http.client look for to stream a
    body with a Content-Length.
    """

    def __init__(
        self,
        fields: Mapping[str, str],
        *,
        file: BinaryIO,
        filename: str,
        file_type: str,
    ) -> None:
        boundary = secrets.token_hex(16)
        self.content_type = f"multipart/form-data; boundary={boundary}"
        head = "".join(_text_part(boundary, name, value) for name, value in fields.items())
        head += _file_head(boundary, filename, file_type)
        self._ends = (head.encode("utf-8", "replace"), f"\r\n--{boundary}--\r\n".encode())
        self._file = file
        self._file_size = file.seek(0, os.SEEK_END)
        self._length = sum(map(len, self._ends)) + self._file_size
        self.rewind()

    def rewind(self) -> None:
        """Rewind: the first bytes are read next."""
        self._head, self._tail = self._ends
        self._file_left = self._file_size
        self._file.seek(0)

    def __len__(self) -> int:
        return self._length

    def __iter__(self) -> Iterator[bytes]:
        while block := self.read(_BLOCK):
            yield block

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes, at most ``size``; empty at the end.

        Raises:
            OSError: the file became shorter, so that the promised length cannot be kept.
        """
        size = _BLOCK if size < 0 else size
        if self._head:
            block, self._head = self._head[:size], self._head[size:]
            return block
        if self._file_left:
            # What was appended meanwhile is left out: the length is already promised.
            block = self._file.read(min(size, self._file_left))
            if not block:
                raise OSError("the file became shorter while it was being sent")
            self._file_left -= len(block)
            return block
        block, self._tail = self._tail[:size], self._tail[size:]
        return block


def _text_part(boundary: str, name: str, value: str) -> str:
    return (
        f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(name)}"\r\n'
        f"Content-Type: text/plain; charset=utf-8\r\n\r\n{value}\r\n"
    )


def _file_head(boundary: str, filename: str, file_type: str) -> str:
    return (
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; '
        f'filename="{_quoted(filename)}"\r\nContent-Type: {_one_line(file_type)}\r\n\r\n'
    )


def _quoted(text: str) -> str:
    """Escape a parameter as browsers do: UTF-8 as it is, quotes and line ends as percent codes.

    RFC 7578 forbids the ``filename*`` form; this one is read by werkzeug and by Spring.
    """
    return text.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def _one_line(text: str) -> str:
    return "".join(character for character in text if character.isprintable())
