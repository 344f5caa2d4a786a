"""A walk through a directory that a script may change at the same moment.

Everything is opened relative to a directory that is open already, and judged by what was opened,
never by a path that may mean something else a moment later. So nothing outside of the directory
is ever read through it, no device or pipe is touched, and no path is too long.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

#: Directories inside each other that are entered; each one keeps a descriptor open.
DEEPEST: Final = 100


class LeadsOutError(OSError):
    """A link that leads out of the directory."""


class TooDeepError(OSError):
    """More directories inside each other than are entered."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """What was found under a name; its ``open`` and ``fingerprint`` hold while the walk is there.

    Something that is no directory: a file, a link, or what has no content at all.
    """

    #: Relative to the directory that is walked, with forward slashes.
    path: str
    name: str
    #: Descriptor of the directory that it stands in.
    directory: int
    #: Descriptor of the directory that is walked.
    root: int

    def fingerprint(self) -> str:
        """Return what changes when the file is written or replaced; empty when it is gone."""
        try:
            status = os.stat(self.name, dir_fd=self.directory, follow_symlinks=False)
        except FileNotFoundError:
            return ""
        return f"{status.st_size} {status.st_mtime_ns} {status.st_ino}"

    def open(self) -> int | None:
        """Return a descriptor of the regular file; None for what is none, or is gone.

        A link is followed when its file stands in the directory that is walked.

        Raises:
            LeadsOutError: the link leads out of it.
            OSError: the file cannot be read.
        """
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW
        try:
            found = os.stat(self.name, dir_fd=self.directory, follow_symlinks=False)
            if stat.S_ISLNK(found.st_mode):
                return self._open_link()
            if not stat.S_ISREG(found.st_mode):
                return None
            descriptor = os.open(self.name, flags, dir_fd=self.directory)
        except FileNotFoundError:
            return None
        except OSError as exc:
            if exc.errno in (errno.ELOOP, errno.ENXIO):  # replaced between the look and the opening
                return None
            raise
        return _regular(descriptor)

    def _open_link(self) -> int | None:
        # Without side effects, whatever it leads to: a device is not touched by this.
        handle = os.open(self.name, os.O_PATH | os.O_CLOEXEC, dir_fd=self.directory)
        try:
            if not _place(handle).is_relative_to(_place(self.root)):
                raise LeadsOutError(errno.EXDEV, "the link leads out of the directory", self.path)
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                return None
            return os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            os.close(handle)


def _place(descriptor: int) -> Path:
    """Return where an open file is now, whatever path led to it."""
    return Path(f"/proc/self/fd/{descriptor}").readlink()


def entries_below(root: Path) -> Iterator[Entry | TooDeepError]:
    """Yield the entries below a directory, sorted; links to directories are not followed.

    Yields an error in the place of a directory that cannot be entered.

    Raises:
        OSError: the directory itself is there and cannot be read.
    """
    try:
        top = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return
    stack = [_Level(top, "")]
    try:
        while stack:
            level = stack[-1]
            name = next(level.names, None)
            if name is None:
                os.close(stack.pop().descriptor)
                continue
            path = level.prefix + name
            inner = _directory(level.descriptor, name)
            if inner is None:
                yield Entry(path=path, name=name, directory=level.descriptor, root=top)
            elif isinstance(inner, OSError):
                yield TooDeepError(inner.errno, inner.strerror, path)
            elif len(stack) < DEEPEST:
                stack.append(_Level(inner, f"{path}/"))
            else:
                os.close(inner)
                yield TooDeepError(errno.ELOOP, f"more than {DEEPEST} directories deep", path)
    finally:
        for level in stack:
            os.close(level.descriptor)


class _Level:
    """One directory that the walk is in."""

    def __init__(self, descriptor: int, prefix: str) -> None:
        self.descriptor = descriptor
        self.prefix = prefix
        self.names = iter(sorted(os.listdir(descriptor)))


def _directory(parent: int, name: str) -> int | OSError | None:
    """Open a directory; None when it is none, an error when it cannot be entered."""
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            return None
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(name, flags, dir_fd=parent)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as exc:
        return None if exc.errno == errno.ELOOP else exc


def _regular(descriptor: int) -> int | None:
    if stat.S_ISREG(os.fstat(descriptor).st_mode):
        return descriptor
    os.close(descriptor)
    return None
