"""Changes to the config file: whole or not at all, one at a time, for its owner's eyes.

The new text goes to a file beside the old one, is on the disk before it takes the name, and takes
it in one step: whoever reads, and a power cut, meet the old file or the new one. A link stays a
link; the file that it names is changed.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from keruta_agent import errors
from keruta_agent.settings.config_file import decode
from keruta_agent.settings.sources import config_candidates, home_of

#: Seconds to wait for another command that changes the file; each takes milliseconds.
PATIENCE_S: Final = 10.0
LOOK_S: Final = 0.01

#: Modes of a new file, and of one that holds a secret.
READABLE: Final = 0o644
PRIVATE: Final = 0o600


def file_to_change(config_path: Path | None, environment: Mapping[str, str]) -> Path:
    """Returns the file that settings are written to: the named one, else the person's own.

    Raises:
        SettingsError: there is no home directory, or the person's file would hide the machine's,
            which holds what is in force.
    """
    named, *others = config_candidates(config_path, environment)
    if named.origin:
        return named.path
    if home_of(environment) is None:
        raise errors.SettingsError(
            "It is not known which config file is to be changed: HOME is not set",
            advice="Name it with --config",
        )
    hidden = next((other.path for other in others if other.path.exists()), None)
    if hidden is not None and not named.path.exists():
        raise errors.SettingsError(
            f"{hidden} is in force, and would not be read any more beside {named.path}",
            advice=f"Change it with --config {hidden}, or copy it to {named.path} first",
        )
    return named.path


def change(
    path: Path, edit: Callable[[str], str], *, private: bool = False, create: bool = True
) -> None:
    """Replaces the text of a file by what ``edit`` makes of it; an empty one when there is none.

    Args:
        path: the file, or a link to it. Its directory is made, for its owner alone.
        edit: gets the old text and returns the new one; what it raises leaves all as it is.
        private: whether nobody but the owner may read the new file.
        create: whether a file that is not there may be made.

    Raises:
        SettingsError: the file cannot be read, locked or written.
    """
    try:
        target = path.resolve()
        if not create and not target.exists():
            return
        target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with _locked(target.parent):
            old = _read(target)
            new = edit(decode(old or b"", path))
            if old is None or new.encode() != old or private:
                _replace(target, new.encode(), private=private)
    except OSError as error:
        raise _cannot_write(path, error) from error
    except RuntimeError as error:  # a link to itself
        raise errors.SettingsError(
            f"Cannot write the config file {path}: its link leads nowhere",
            advice="Remove it, or name another file with --config",
        ) from error


def _cannot_write(path: Path, error: OSError) -> errors.SettingsError:
    return errors.SettingsError(
        f"Cannot write the config file {path}: {error.strerror or type(error).__name__}",
        advice="Make its directory one that this user may write, or name a file with --config",
    )


@contextlib.contextmanager
def _locked(directory: Path) -> Iterator[None]:
    """Keeps other commands from changing files in a directory; the lock dies with its holder."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        deadline = time.monotonic() + PATIENCE_S
        while not _try_lock(descriptor):
            if time.monotonic() > deadline:
                raise errors.SettingsError(
                    f"Cannot change a file in {directory}: another command has been at it"
                    f" for {PATIENCE_S:.0f} seconds",
                    advice="Wait for it, or end it",
                )
            time.sleep(LOOK_S)
        yield
    finally:
        os.close(descriptor)


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        # Network file systems lock no directory that is open for reading. The change is whole
        # there too; of two at the very same time one may get lost.
        if error.errno not in (errno.EBADF, errno.ENOLCK, errno.EOPNOTSUPP):
            raise
    return True


def _read(path: Path) -> bytes | None:
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(mode):  # what takes its place would be one: of /dev/null, say
        raise errors.SettingsError(
            f"Cannot change the config file {path}: it is no regular file",
            advice="Name one with --config",
        )
    return path.read_bytes()


def _replace(path: Path, content: bytes, *, private: bool) -> None:
    """Puts a new file in the place of the old one, with its mode and owner."""
    try:
        old = path.stat()
    except FileNotFoundError:
        old = None
    # Under the lock nobody else writes it: one that lies there is left from a command that died.
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)
    mode = PRIVATE if private or old is not None else READABLE
    descriptor = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            if old is not None:
                _take_over(file.fileno(), old, private=private)
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(path)
    except BaseException:
        fresh.unlink(missing_ok=True)
        raise
    _sync_directory(path.parent)


def _take_over(descriptor: int, old: os.stat_result, *, private: bool) -> None:
    """Gives a file the owner and the mode of another."""
    if (old.st_uid, old.st_gid) != (os.geteuid(), os.getegid()):
        # Root changes another person's file, who shall be able to read it afterwards.
        with contextlib.suppress(PermissionError):
            os.fchown(descriptor, old.st_uid, old.st_gid)
    mode = stat.S_IMODE(old.st_mode)
    # A file that only a group may read was meant for it, with the daemon in it.
    os.fchmod(descriptor, PRIVATE if private and mode & 0o007 else mode)


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
