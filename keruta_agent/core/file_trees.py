"""The walk, opening and removal of foreign directory trees of any depth.

``shutil.rmtree``, ``Path.rglob`` and, before Python 3.12, ``os.walk`` recurse: some thousand
directories inside each other raise RecursionError, which nobody expects. Paths of such trees are
also longer than the kernel takes. A task, a repository or the tests of a change can make one with
a single command, and then whatever has to clean up after them fails for ever.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_OPEN: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: To open and remove what is in a directory that need not be readable.
_PASS: Final = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_BYTES_A_BLOCK: Final = 512


def walk(top: Path) -> Iterator[tuple[str, list[str], list[str]]]:
    """Yield directories with the names of what is in them, like ``os.walk``, without recursion.

    Links count as files, whatever they lead to. Directories that cannot be read are left out, and
    so are those whose paths are too long to be opened.
    """
    waiting = [os.fspath(top)]
    while waiting:
        folder = waiting.pop()
        directories: list[str] = []
        names: list[str] = []
        try:
            with os.scandir(folder) as entries:
                for entry in entries:
                    is_directory = entry.is_dir(follow_symlinks=False)
                    (directories if is_directory else names).append(entry.name)
        except OSError:
            continue
        yield folder, directories, names
        waiting.extend(f"{folder}/{name}" for name in reversed(directories))


def disk_usage(top: Path) -> int:
    """Return the bytes of the files in a tree: no more than they take on the disk.

    What cannot be read counts as nothing.
    """
    total = 0
    try:
        with _opened(top, _OPEN) as descriptor:
            for visit in _Descent(descriptor):
                for name in visit.names:
                    with contextlib.suppress(OSError):
                        found = os.stat(name, dir_fd=visit.descriptor, follow_symlinks=False)
                        # A sparse file claims bytes that it does not take.
                        total += min(found.st_size, found.st_blocks * _BYTES_A_BLOCK)
    except OSError:
        return total
    return total


def remove(path: Path) -> None:
    """Remove a file, or a directory with all that is below it, however deep; follow no link.

    Directories that lack permissions are given them first. What can be removed is removed, also
    when something else cannot. What is not there is no error.

    Raises:
        OSError: something could not be removed.
    """
    if not os.path.lexists(path):
        return
    with _opened(path.parent, _PASS) as parent:
        descent = _Descent(parent, only=path.name, unlock=True)
        for visit in descent:
            for name in visit.names:
                with descent.noting(name), contextlib.suppress(FileNotFoundError):
                    os.unlink(name, dir_fd=visit.descriptor)
            if visit.finished is not None:
                with descent.noting(visit.finished), contextlib.suppress(FileNotFoundError):
                    os.rmdir(visit.finished, dir_fd=visit.descriptor)
    if descent.error is not None:
        error = descent.error
        raise OSError(error.errno, error.strerror, f"{path}: {error.filename}") from error


def is_directory(path: Path) -> bool:
    """Return whether a path is a directory itself, and no link to one."""
    try:
        return stat.S_ISDIR(path.lstat().st_mode)
    except OSError:
        return False


def make_usable(directory: Path) -> None:
    """Give a directory that we own the permissions that its owner needs; leave all else alone."""
    with (
        contextlib.suppress(OSError),  # said by whoever uses it
        _opened(directory.parent, _PASS) as parent,
    ):
        _give_permissions(parent, directory.name)


def open_up(top: Path) -> None:
    """Make what we own in a tree readable, and its directories writable; follow no link.

    A file with a second name is left as it is, because that name may lie outside of the tree.
    What cannot be changed is left as it is: whoever needs it says so.
    """
    with contextlib.suppress(OSError), _opened(top.parent, _PASS) as parent:
        for visit in _Descent(parent, only=top.name, unlock=True):
            for name in visit.names:
                with contextlib.suppress(OSError):
                    _make_readable(visit.descriptor, name)


@contextlib.contextmanager
def temporary_directory(prefix: str) -> Iterator[Path]:
    """Make a private directory, and remove it at the end with whatever is in it."""
    directory = Path(tempfile.mkdtemp(prefix=prefix))
    try:
        yield directory
    finally:
        remove(directory)


@contextlib.contextmanager
def _opened(path: Path, flags: int) -> Iterator[int]:
    descriptor = os.open(path, flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Visit:
    """One look at a directory; its descriptor holds until the next visit."""

    descriptor: int
    #: What is in it and is no directory; empty when it is visited again.
    names: tuple[str, ...] = ()
    #: The directory in it that was just finished.
    finished: str | None = None


@dataclasses.dataclass(kw_only=True)
class _Level:
    name: str
    identity: tuple[int, int]
    #: Directories in it that have yet to be entered.
    waiting: list[str]


class _Descent:
    """A walk over the directories of a tree: each on the way down, and again after each one inside.

    Only one directory is open at a time, however deep the tree: the way up is ``..``, which is
    checked to be where the way down came from.
    """

    def __init__(self, top: int, *, only: str | None = None, unlock: bool = False) -> None:
        """Start at an open directory; ``only`` narrows it to one name there."""
        self._top = top
        self._only = only
        self._unlock = unlock
        #: What went wrong first.
        self.error: OSError | None = None

    @contextlib.contextmanager
    def noting(self, name: str) -> Iterator[None]:
        """Note an error about a name instead of raising it."""
        try:
            yield
        except OSError as exc:
            exc.filename = name
            self.error = self.error or exc

    def __iter__(self) -> Iterator[_Visit]:
        here = os.dup(self._top)
        try:
            names, waiting = self._start(here)
            levels = [_Level(name=".", identity=_identity(here), waiting=waiting)]
            yield _Visit(descriptor=here, names=names)
            while True:
                level = levels[-1]
                if level.waiting:
                    name = level.waiting.pop()
                    inner = self._enter(here, name, level.identity[0])
                    if inner is None:
                        continue
                    os.close(here)
                    here = inner
                    names, waiting = self._listed(here, name)
                    levels.append(_Level(name=name, identity=_identity(here), waiting=waiting))
                    yield _Visit(descriptor=here, names=names)
                    continue
                levels.pop()
                if not levels:
                    return
                outer = os.open("..", _PASS, dir_fd=here)
                os.close(here)
                here = outer
                if _identity(here) != levels[-1].identity:
                    raise OSError(errno.ESTALE, "it was moved meanwhile", level.name)
                yield _Visit(descriptor=here, finished=level.name)
        finally:
            os.close(here)

    def _start(self, here: int) -> tuple[tuple[str, ...], list[str]]:
        if self._only is None:
            return self._listed(here, ".")
        try:
            found = os.stat(self._only, dir_fd=here, follow_symlinks=False)
        except FileNotFoundError:
            return (), []
        return ((), [self._only]) if stat.S_ISDIR(found.st_mode) else ((self._only,), [])

    def _listed(self, descriptor: int, name: str) -> tuple[tuple[str, ...], list[str]]:
        """Return the names of what is no directory, and of the directories."""
        names: list[str] = []
        directories: list[str] = []
        with self.noting(name), os.scandir(descriptor) as entries:
            for entry in entries:
                is_directory = entry.is_dir(follow_symlinks=False)
                (directories if is_directory else names).append(entry.name)
        return tuple(names), directories

    def _enter(self, here: int, name: str, device: int) -> int | None:
        with self.noting(name), contextlib.suppress(FileNotFoundError):
            descriptor = self._opened(here, name)
            found = os.fstat(descriptor)
            if found.st_dev == device:
                return descriptor
            os.close(descriptor)
            raise OSError(errno.EXDEV, "another file system is mounted there", name)
        return None

    def _opened(self, here: int, name: str) -> int:
        if self._unlock:
            _give_permissions(here, name)
        return os.open(name, _OPEN, dir_fd=here)


def _identity(descriptor: int) -> tuple[int, int]:
    found = os.fstat(descriptor)
    return found.st_dev, found.st_ino


def _give_permissions(parent: int, name: str) -> None:
    """Give the owner access to a directory and its entries, if it is this user's and lacks that."""
    handle = os.open(name, _PASS | os.O_NOFOLLOW, dir_fd=parent)
    try:
        _add_mode(handle, os.fstat(handle), stat.S_IRWXU)
    finally:
        os.close(handle)


def _make_readable(parent: int, name: str) -> None:
    """Make a file readable, if it is this user's, is not readable, and has no other name."""
    handle = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    try:
        found = os.fstat(handle)
        if stat.S_ISREG(found.st_mode) and found.st_nlink == 1:
            _add_mode(handle, found, stat.S_IRUSR)
    finally:
        os.close(handle)


def _add_mode(handle: int, found: os.stat_result, wanted: int) -> None:
    mode = stat.S_IMODE(found.st_mode)
    if found.st_uid == os.geteuid() and mode & wanted != wanted:
        Path(f"/proc/self/fd/{handle}").chmod(mode | wanted)
