"""The file of a backup: a plain tar, which ordinary tools open as well.

It begins with ``backup.json`` (the format, the version that wrote it) and ends with
``SHA256SUMS``, so that one that was cut off is known as such; ``sha256sum -c`` reads that, too. In
between are artifacts, databases, and ``contents.json``, which says what is in them.

What is read was perhaps written by somebody else: only regular files of known names are taken, and
nothing of the archive decides how much memory that costs.
"""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import io
import re
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, Final, Protocol, Self

from keruta_agent.core import errors

HEADER: Final = "backup.json"
CONTENTS: Final = "contents.json"
SUMS: Final = "SHA256SUMS"
#: Of the whole layout; one more than this one is not understood here.
FORMAT: Final = 1

#: Directories of a data directory that have a database and artifacts: its own, and the runner's.
PARTS: Final = ("", "runner/")
DATABASE: Final = "server.db"
ARTIFACTS: Final = "artifacts/"

_NAMES: Final = re.compile(r"(?:runner/)?(?:server\.db|artifacts/[0-9A-Za-z_-]{1,80})", re.ASCII)
_DESCRIPTIONS: Final = (HEADER, CONTENTS)
#: Bytes of a description at most.
_MOST_DESCRIPTION: Final = 1024 * 1024
_PIECE: Final = 1024 * 1024

#: Called with what is being done, and how much of it: in bytes, done and in all.
Report = Callable[[str, int, int], None]


class Taker(Protocol):
    """Decides where a member's content goes."""

    def __call__(self, name: str) -> contextlib.AbstractContextManager[IO[bytes]]:
        """Return the file for a member, opened for the length of the block."""


class Writer:
    """Writes an archive from its first member to its sums."""

    def __init__(self, file: IO[bytes], sums: IO[bytes]) -> None:
        """Write to a file; ``sums`` keeps what becomes the last member."""
        # Of the formats only this one writes large files without members that describe members.
        self._tar: Any = tarfile.open(  # noqa: SIM115
            fileobj=file, mode="w", format=tarfile.GNU_FORMAT
        )
        self._sums = sums

    def add(self, name: str, content: IO[bytes], size: int) -> str:
        """Add a member of this size and return its SHA-256."""
        hashed = _Hashed(content)
        self._add(name, hashed, size)
        digest = hashed.digest.hexdigest()
        self._sums.write(_line(digest, name))
        return digest

    def add_text(self, name: str, text: str) -> None:
        """Add a member that describes others."""
        content = text.encode()
        self.add(name, io.BytesIO(content), len(content))

    def finish(self) -> None:
        """Add the sums and end the archive."""
        size = self._sums.tell()
        self._sums.seek(0)
        self._add(SUMS, self._sums, size)
        self._tar.close()

    def _add(self, name: str, content: IO[bytes] | _Hashed, size: int) -> None:
        info = tarfile.TarInfo(name)
        info.size = size
        info.mode = 0o600
        info.mtime = int(time.time())
        self._tar.addfile(info, content)
        # It would remember each of a million.
        self._tar.members = []


class _Hashed:
    """A file whose content is hashed as it is read."""

    def __init__(self, content: IO[bytes]) -> None:
        self._content = content
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        piece = self._content.read(size)
        self.digest.update(piece)
        return piece


class _PlainMember(tarfile.TarInfo):
    """A regular file: links, devices and members that describe others are refused unread."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        info = super().frombuf(buf, encoding, errors)
        if info.type not in (tarfile.REGTYPE, tarfile.AREGTYPE):
            raise _ForeignMember(f"{info.name!a} is no regular file")
        return info


class _ForeignMember(Exception):
    """A member that no backup has."""


@dataclasses.dataclass
class Texts:
    """The descriptions in an archive."""

    header: str = ""
    contents: str = ""


def read(
    archive: IO[bytes],
    path: Path,
    take: Taker | None,
    *,
    check_header: Callable[[str], None],
    report: Report,
) -> Texts:
    """Read an archive from end to end, and compare all of it with its sums.

    Args:
        archive: the file.
        path: where it is, for messages.
        take: gives the files that databases and artifacts are written to; None only reads them.
        check_header: raises where the archive is of no use, before anything is taken.
        report: is told how far it is.

    Raises:
        AgentStateError: the file is no whole backup.
        OSError: it cannot be read, or what is taken cannot be written.
    """
    try:
        return _Reading(archive, take, check_header, report).run()
    except (tarfile.TarError, EOFError, UnicodeDecodeError, _ForeignMember, ValueError) as exc:
        raise not_whole(path, str(exc)) from exc


def not_whole(path: Path, reason: str) -> errors.AgentStateError:
    """Return the refusal of a file that is no whole backup."""
    return errors.AgentStateError(
        f"{path} is no whole backup: {reason}",
        advice="Use another one; tar and sha256sum -c show what this one holds",
    )


class _Reading:
    def __init__(
        self,
        archive: IO[bytes],
        take: Taker | None,
        check_header: Callable[[str], None],
        report: Report,
    ) -> None:
        self._archive = archive
        self._take = take
        self._check_header = check_header
        self._report = report
        self._total = archive.seek(0, io.SEEK_END)
        self._texts = Texts()
        #: Of the lines that the sums must have: to keep the lines would take memory for each.
        self._expected = hashlib.sha256()
        archive.seek(0)

    def run(self) -> Texts:
        is_first = True
        for name, content in self._members():
            if is_first != (name == HEADER):
                raise ValueError(f"{HEADER} is not its first member")
            is_first = False
            if name == SUMS:
                return self._finished(content)
            if name in _DESCRIPTIONS:
                self._describe(name, content)
            elif _NAMES.fullmatch(name):
                self._copy(name, content)
            else:
                raise ValueError(f"{name!a} has no place in a backup")
        raise ValueError(f"it ends before {SUMS}")

    def _members(self) -> Iterator[tuple[str, IO[bytes]]]:
        with tarfile.open(fileobj=self._archive, mode="r:", tarinfo=_PlainMember) as tar:
            of_any_length: Any = tar
            while (info := tar.next()) is not None:
                of_any_length.members = []
                content = tar.extractfile(info)
                if content is None:
                    raise _ForeignMember(f"{info.name!a} has no content")
                yield info.name, content

    def _describe(self, name: str, content: IO[bytes]) -> None:
        text = content.read(_MOST_DESCRIPTION + 1)
        if len(text) > _MOST_DESCRIPTION:
            raise ValueError(f"{name} is larger than it can be")
        self._note(hashlib.sha256(text), name)
        if name == HEADER:
            self._texts.header = text.decode()
            self._check_header(self._texts.header)
        else:
            self._texts.contents = text.decode()

    def _copy(self, name: str, content: IO[bytes]) -> None:
        digest = hashlib.sha256()
        with contextlib.ExitStack() as opened:
            target = None if self._take is None else opened.enter_context(self._take(name))
            while piece := content.read(_PIECE):
                digest.update(piece)
                if target is not None:
                    target.write(piece)
                self._report("of the backup read", self._archive.tell(), self._total)
        self._note(digest, name)

    def _note(self, digest: hashlib._Hash, name: str) -> None:
        self._expected.update(_line(digest.hexdigest(), name))

    def _finished(self, sums: IO[bytes]) -> Texts:
        written = hashlib.sha256()
        while piece := sums.read(_PIECE):
            written.update(piece)
        if written.digest() != self._expected.digest():
            raise ValueError(f"its content is not what {SUMS} says")
        if not self._texts.contents:
            raise ValueError(f"it has no {CONTENTS}")
        return self._texts


def _line(digest: str, name: str) -> bytes:
    return f"{digest}  {name}\n".encode()
