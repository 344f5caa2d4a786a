"""The files of a workspace, reached from its directory step by step and never through a link.

A process that a test left behind may put a symbolic link where a directory was, after the path
was checked: each part is opened below the one before it, and a link is not followed.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Final

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class TooLargeError(OSError):
    """A file is larger than what is read of one."""


class Tree:
    """Files below one directory."""

    def __init__(self, root: Path) -> None:
        self.root = root
        #: Directories that writing has made, the outer ones first.
        self._made: list[PurePosixPath] = []

    def read(self, path: PurePosixPath, most: int) -> bytes | None:
        """Return what a file holds, None when there is none.

        Raises:
            OSError: it is no regular file, lies behind a link, or has more than ``most`` bytes.
        """
        try:
            with self._directory_of(path) as directory:
                # Not to wait: opening a FIFO would, for ever.
                flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
                descriptor = os.open(path.name, flags, dir_fd=directory)
        except FileNotFoundError:
            return None
        try:
            status = os.fstat(descriptor)
            if not stat.S_ISREG(status.st_mode):
                raise OSError(0, "It is no regular file")
            if status.st_size > most:
                raise TooLargeError(0, f"It has more than {most} bytes")
            with os.fdopen(descriptor, "rb", closefd=False) as file:
                return file.read(most + 1)
        finally:
            os.close(descriptor)

    def mode(self, path: PurePosixPath) -> int:
        """Return the type and the permissions of a file."""
        with self._directory_of(path) as directory:
            return os.stat(path.name, dir_fd=directory, follow_symlinks=False).st_mode

    def stage(self, path: PurePosixPath, data: bytes, mode: int) -> str:
        """Write a file next to its place and return its name; make missing directories.

        Raises:
            OSError: it cannot be written, or a part of the path is no directory.
        """
        self._make_directories(path.parent)
        name = f".keruta-{secrets.token_hex(8)}.tmp"
        with self._directory_of(path) as directory:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(name, flags, 0o600, dir_fd=directory)
            try:
                with os.fdopen(descriptor, "wb") as file:
                    file.write(data)
                    file.flush()
                    os.fchmod(descriptor, mode & 0o777)
            except BaseException:
                os.unlink(name, dir_fd=directory)
                raise
        return name

    def put(self, path: PurePosixPath, staged: str) -> None:
        """Move a staged file to its place, in one step."""
        with self._directory_of(path) as directory:
            os.replace(staged, path.name, src_dir_fd=directory, dst_dir_fd=directory)

    def remove(self, path: PurePosixPath) -> None:
        """Remove a file, where there is one."""
        with contextlib.suppress(FileNotFoundError), self._directory_of(path) as directory:
            os.unlink(path.name, dir_fd=directory)

    def remove_made_directories(self) -> None:
        """Remove the directories that writing has made, as far as they are empty."""
        while self._made:
            path = self._made.pop()
            with contextlib.suppress(OSError), self._directory_of(path) as directory:
                os.rmdir(path.name, dir_fd=directory)

    def _make_directories(self, path: PurePosixPath) -> None:
        for place in [*reversed(path.parents), path]:
            if place.name:
                with self._directory_of(place) as directory, contextlib.suppress(FileExistsError):
                    os.mkdir(place.name, dir_fd=directory)
                    self._made.append(place)

    @contextlib.contextmanager
    def _directory_of(self, path: PurePosixPath) -> Iterator[int]:
        """Open the directory that a file is in."""
        current = os.open(self.root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for part in path.parent.parts:
                deeper = os.open(part, _DIRECTORY, dir_fd=current)
                os.close(current)
                current = deeper
            yield current
        finally:
            os.close(current)
