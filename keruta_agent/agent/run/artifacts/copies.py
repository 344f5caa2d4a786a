"""Copies of artifacts: taken at once, under names of their own, hashed as they are written.

What is sent later, after an outage say, is what was there when it was taken, and nobody changes
or removes it any more.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import hashlib
import os
import secrets
from pathlib import Path
from typing import Final

#: Bytes that a copy leaves free on the disk: the agent's own records need some.
RESERVE_BYTES: Final = 16 * 1024 * 1024
#: How often a file is copied that is written to meanwhile, before it is taken as it was found.
ATTEMPTS: Final = 3
_BLOCK: Final = 1024 * 1024
#: Characters of the file's own name in the name of its copy: 4 bytes each fit into 255.
_NAME_CHARACTERS: Final = 50


@dataclasses.dataclass(frozen=True, kw_only=True)
class Copy:
    """A file that was copied."""

    file: Path
    #: Bytes.
    size: int
    sha256: str
    #: Whether somebody wrote to the file while it was copied: these are its first bytes.
    was_written_to: bool


def take(source: int, directory: Path, name: str, *, durable: bool = False) -> Copy:
    """Copy an open file into a directory and return the copy.

    A file that grows is taken with the size that it has when the copy begins. A durable copy
    survives a power cut.

    Raises:
        OSError: it cannot be read or written; ``ENOSPC`` when there is no room for it, which is
            found out before the disk is full.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    label = secrets.token_hex(8)
    partial = directory / f".partial-{label}"
    try:
        with open(partial, "xb", opener=_private, buffering=0) as target:
            for _ in range(ATTEMPTS):
                before = os.fstat(source)
                _refuse_without_room(directory, before.st_size)
                size, sha256 = _copy(source, target.fileno(), before.st_size)
                after = os.fstat(source)
                was_written_to = (after.st_size, after.st_mtime_ns) != (size, before.st_mtime_ns)
                if not was_written_to:
                    break
            if durable:
                os.fsync(target.fileno())
        final = partial.with_name(f"{label}-{_readable(name)}")
        partial.rename(final)
        if durable:
            _sync_directory(directory)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    return Copy(file=final, size=size, sha256=sha256, was_written_to=was_written_to)


def _private(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


def _refuse_without_room(directory: Path, size: int) -> None:
    disk = os.statvfs(directory)
    if size and disk.f_bavail * disk.f_frsize < size + RESERVE_BYTES:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(directory))


def _copy(source: int, target: int, size: int) -> tuple[int, str]:
    """Copy at most this many bytes from the beginning; return how many, and their hash.

    Hashed on the way rather than copied by the kernel: so the hash is that of what was written,
    and each byte is read once.
    """
    digest = hashlib.sha256()
    done = 0
    os.lseek(target, 0, os.SEEK_SET)
    os.ftruncate(target, 0)
    while done < size:
        block = os.pread(source, min(_BLOCK, size - done), done)
        if not block:
            break
        digest.update(block)
        view = memoryview(block)
        while view:
            view = view[os.write(target, view) :]
        done += len(block)
    return done, digest.hexdigest()


def drop(copy: Path) -> None:
    """Remove a copy that is not needed; one that stays takes room only."""
    with contextlib.suppress(OSError):
        copy.unlink()


def _readable(name: str) -> str:
    """Return a file name for a copy in which a person recognises the file."""
    kept = [c if c.isalnum() or c in "._-" else "_" for c in name[-_NAME_CHARACTERS:]]
    return "".join(kept)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
