"""Changes to the config file: whole or not at all, one at a time, for its owner's eyes.

The new text goes to a file beside the old one, is on the disk before it takes the name, and takes
it in one step: whoever reads, and a power cut, meet the old file or the new one. That file is also
the lock of all who change the old one; a lock of the directory would wait for a daemon, which locks
its own. A link stays a link; the file that it names is changed.
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

from keruta_agent.core import errors
from keruta_agent.core.settings.config_file import decode
from keruta_agent.core.settings.sources import config_candidates, home_of

#: Seconds to wait for another command that changes the file; each takes milliseconds.
LOCK_TIMEOUT_S: Final = 10.0
LOOK_S: Final = 0.01

#: Modes of a new file, and of one that holds a secret.
READABLE: Final = 0o644
PRIVATE: Final = 0o600


def file_to_change(config_path: Path | None, environment: Mapping[str, str]) -> Path:
    """Return the file that settings are written to: the named one, else the person's own.

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
    """Replace the text of a file by what ``edit`` makes of it; an empty one when there is none.

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
        with _draft(target) as draft:
            old = _read(target)
            new = edit(decode(old or b"", path))
            if old is None or new.encode() != old or private:
                _replace(target, draft, new.encode(), private=private)
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
def _draft(target: Path) -> Iterator[int]:
    """Open the file for the new text, which keeps other commands out; it goes with its holder."""
    path = _draft_of(target)
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    while (descriptor := _open_alone(path)) is None:
        if time.monotonic() > deadline:
            raise errors.SettingsError(
                f"Cannot change {target}: another command has held its lock"
                f" for {LOCK_TIMEOUT_S:.0f} seconds",
                advice="Wait for it, or end it",
            )
        time.sleep(LOOK_S)
    try:
        yield descriptor
    finally:
        if _is_named(descriptor, path):  # it has not taken the old one's place
            path.unlink(missing_ok=True)
        os.close(descriptor)


def _draft_of(target: Path) -> Path:
    return target.with_name(f".{target.name}.new")


def _open_alone(path: Path) -> int | None:
    """Open and lock a file that is ours alone; None while another command has it."""
    # One that lies there was left by a command that died, and its lock died with it; or somebody
    # else has put it there, to read what is written.
    flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        descriptor = os.open(path, flags, READABLE)
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENXIO):  # a link, a pipe
            raise
        path.unlink(missing_ok=True)
        return None
    try:
        if not _is_ours(os.fstat(descriptor)):
            path.unlink(missing_ok=True)
        # Whoever had the lock has given the file its place by now, or removed it.
        elif _try_lock(descriptor) and _is_named(descriptor, path):
            return descriptor
    except BaseException:
        os.close(descriptor)
        raise
    os.close(descriptor)
    return None


def _is_ours(status: os.stat_result) -> bool:
    is_single_file = stat.S_ISREG(status.st_mode) and status.st_nlink <= 1
    return is_single_file and status.st_uid == os.geteuid()


def _is_named(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.lstat())
    except FileNotFoundError:
        return False


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        # Some network file systems know no locks. The change is whole there too; of two at the
        # very same time one may get lost.
        if error.errno not in (errno.ENOLCK, errno.EOPNOTSUPP):
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


def _replace(path: Path, draft: int, content: bytes, *, private: bool) -> None:
    """Put the draft in the place of the old file, with its mode and owner."""
    try:
        old = path.stat()
    except FileNotFoundError:
        old = None
    os.ftruncate(draft, 0)
    if private or old is not None:
        os.fchmod(draft, PRIVATE)
    with os.fdopen(draft, "wb", closefd=False) as file:
        file.write(content)
        file.flush()
        if old is not None:
            _take_over(draft, old, private=private)
        os.fsync(draft)
    _draft_of(path).replace(path)
    _sync_directory(path.parent)


def _take_over(descriptor: int, old: os.stat_result, *, private: bool) -> None:
    """Give a file the owner and the mode of another."""
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
