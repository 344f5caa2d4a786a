"""Files as artifacts: which are taken, under which path, how they wait in the outbox."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import logging
import os
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from keruta_agent.agent.run.artifacts import copies, media
from keruta_agent.agent.run.artifacts.tree import Entry, LeadsOutError, entries_below
from keruta_agent.core.model import ArtifactFile
from keruta_agent.core.settings.schema import Settings
from keruta_agent.core.units import format_size

logger = logging.getLogger(__name__)

#: Characters of a path that servers store.
LONGEST_PATH: Final = 1024
#: What ``_wire_character`` makes, and would be taken for that in a name: 00-1F, 25, 5C, 7F, 80-FF.
_WIRE_CODE: Final = re.compile("%([01][0-9A-F]|25|5C|7F|[89A-F][0-9A-F])")
_NOTHING: Final[Mapping[str, str]] = MappingProxyType({})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Taken:
    """A file that was taken as an artifact."""

    file: ArtifactFile
    #: Whether it lies in the agent's copy, or where the script left it.
    is_copy: bool


def from_payload(payload: Mapping[str, Any]) -> ArtifactFile:
    """Read the form in which the outbox holds an artifact."""
    return ArtifactFile(**{**payload, "file": Path(payload["file"])})


def wire_path(path: str) -> str:
    """Return a relative path as the API gets it: text without what servers refuse in names.

    Line ends, other control characters, backslashes and bytes that are no UTF-8 become percent
    codes, and what looks like one of these already gets one for its percent sign: no two paths
    become the same. What is longer than servers take is cut in the middle, and kept apart by its
    hash.
    """
    path = _WIRE_CODE.sub(r"%25\1", path)
    text = "".join(_wire_character(character) for character in path)
    if len(text) <= LONGEST_PATH:
        return text
    mark = f"~{hashlib.sha256(text.encode()).hexdigest()[:16]}~"
    half = (LONGEST_PATH - len(mark)) // 2
    return f"{text[:half]}{mark}{text[-half:]}"


def _wire_character(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte that is no UTF-8 (PEP 383)
        code -= 0xDC00
    elif 0xD800 <= code <= 0xDFFF:
        return "\ufffd"
    elif 32 <= code != 127 and character != "\\":
        return character
    return f"%{code:02X}"


def wanted_files(
    settings: Settings,
    root: Path,
    *,
    before: Mapping[str, str] = _NOTHING,
    left_out: Callable[[str, str], None] | None = None,
) -> Iterator[tuple[Entry, int]]:
    """Yield the files below a directory that count as artifacts, each open for reading.

    What is left out is logged: links that lead out, what is too large or cannot be read. Files
    whose name begins with a dot are hidden, and not meant for anybody.

    Args:
        settings: what counts as an artifact.
        root: the directory.
        before: fingerprints by path; what is as it was then is passed over.
        left_out: is called with the path of what is left out, and why.

    Raises:
        OSError: the directory is there and cannot be read.
    """

    def leave_out(path: str, why: str) -> None:
        _log_left_out(root, path, why)
        if left_out is not None:
            left_out(path, why)

    for entry in entries_below(root):
        if isinstance(entry, OSError):
            if str(entry.filename) not in before:
                leave_out(str(entry.filename), f"cannot be entered: {entry.strerror}")
        elif _counts(entry, settings.artifacts_extensions, before):
            yield from _opened(entry, settings.artifacts_max_size, leave_out)


def _counts(entry: Entry, extensions: tuple[str, ...], before: Mapping[str, str]) -> bool:
    """Return whether a file is one of those that are artifacts, and not as it was before."""
    if entry.name.startswith("."):
        return False
    if extensions and not entry.name.lower().endswith(extensions):
        return False
    return before.get(entry.path) != entry.fingerprint()


def _opened(
    entry: Entry, limit: int, leave_out: Callable[[str, str], None]
) -> Iterator[tuple[Entry, int]]:
    """Yield a file with its descriptor, unless it has to be left out."""
    try:
        descriptor = entry.open()
    except LeadsOutError:
        leave_out(entry.path, "is a link that leads out of the artifacts directory")
        return
    except OSError as exc:
        leave_out(entry.path, f"cannot be read: {exc.strerror}")
        return
    if descriptor is None:
        return
    try:
        complaint = too_large(os.fstat(descriptor).st_size, limit)
        if complaint:
            leave_out(entry.path, complaint)
        else:
            yield entry, descriptor
    finally:
        os.close(descriptor)


def too_large(size: int, limit: int) -> str:
    """Return why a file of this size is not taken; empty when it is."""
    if size <= limit:
        return ""
    return (
        f"is too large: {format_size(size)}, the limit is {format_size(limit)}; "
        "set KERUTA_MAX_FILE_SIZE"
    )


def _log_left_out(root: Path, path: str, why: str) -> None:
    logger.warning(
        "the artifact %s %s",
        wire_path(str(root / path)),
        why,
        extra={"action": "artifact_left_out"},
    )


def take(entry: Entry, descriptor: int, root: Path, kept: Path) -> Taken:
    """Copy an open file; without room for a copy it is taken where it is.

    Raises:
        OSError: it cannot be read, or the copy cannot be written.
    """
    kind = media.content_type(descriptor, entry.path)
    try:
        copy = copies.take(descriptor, kept, entry.name)
    except OSError as exc:
        if exc.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        logger.warning(
            "there is no room for a copy of the artifact %s: it is sent from where it is, if "
            "nobody changes it before",
            wire_path(str(root / entry.path)),
            extra={"action": "artifact_not_copied"},
        )
        return Taken(file=_in_place(entry, descriptor, root, kind), is_copy=False)
    if copy.was_written_to:
        logger.warning(
            "the artifact %s was written to while it was taken: its first %d bytes are sent",
            wire_path(str(root / entry.path)),
            copy.size,
            extra={"action": "artifact_was_written_to"},
        )
    file = ArtifactFile(
        file=copy.file,
        relative_path=wire_path(entry.path),
        size=copy.size,
        sha256=copy.sha256,
        content_type=kind,
    )
    return Taken(file=file, is_copy=True)


def _in_place(entry: Entry, descriptor: int, root: Path, kind: str) -> ArtifactFile:
    with os.fdopen(os.dup(descriptor), "rb") as file:
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        size = file.tell()
    return ArtifactFile(
        file=root / entry.path,
        relative_path=wire_path(entry.path),
        size=size,
        sha256=digest,
        content_type=kind,
    )
