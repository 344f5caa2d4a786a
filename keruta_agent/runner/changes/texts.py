"""Bytes of a file as text and back: its encoding, its mark and its line ends stay its own."""

from __future__ import annotations

import codecs
import dataclasses

from keruta_agent.runner.changes import patch

#: Marks at the beginning, and the encodings that they stand for.
_MARKS = (
    (codecs.BOM_UTF8, "utf-8"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
#: In this order: what is EUC is seldom valid as UTF-8, and what is Shift JIS seldom as EUC.
_ENCODINGS = ("utf-8", "euc_jp", "cp932", "latin-1")


class NotTextError(ValueError):
    """Bytes are no text, or a text cannot be written in its file's encoding."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class FileText:
    """What a file says, and how it is written."""

    text: str
    encoding: str = "utf-8"
    mark: bytes = b""

    def changed(self, text: str) -> bytes:
        """Return the bytes of another text that is written the same way.

        Raises:
            NotTextError: the encoding lacks one of its characters, or it holds a NUL.
        """
        if "\0" in text:  # nobody could read the file as text again
            raise NotTextError("it holds a NUL, which no text does")
        try:
            return self.mark + text.encode(self.encoding)
        except UnicodeEncodeError as error:
            letter = text[error.start]
            raise NotTextError(f"the file's encoding, {self.encoding}, has no {letter!r}") from None

    def with_own_line_ends(self, text: str) -> str:
        """Return a new whole text with the line ends of this file."""
        if "\r" in text or patch.line_end(self.text) == "\n":
            return text
        return text.replace("\n", "\r\n")


def decode(data: bytes) -> FileText:
    """Return the text of a file.

    Raises:
        NotTextError: it is none.
    """
    for mark, encoding in _MARKS:
        if data.startswith(mark):
            return _decoded(data[len(mark) :], encoding, mark)
    if b"\0" in data:
        raise NotTextError("it is no text")
    for encoding in _ENCODINGS:
        try:
            return _decoded(data, encoding, b"")
        except NotTextError:
            continue
    raise NotTextError("it is no text")


def _decoded(data: bytes, encoding: str, mark: bytes) -> FileText:
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError:
        raise NotTextError(f"it is no {encoding}") from None
    if text.encode(encoding) != data:
        raise NotTextError(f"it cannot be written again as {encoding}")
    return FileText(text=text, encoding=encoding, mark=mark)
