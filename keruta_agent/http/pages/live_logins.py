"""Which logins count: a cookie alone, however well signed, lets nobody in once its login has ended.

The list is kept in a file, so that a restart logs nobody out. It fails closed: a login that is not
on it has ended, and so has every one of them when the token changed or the file cannot be read.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

logger = logging.getLogger(__name__)

#: Logins at once; one more ends the one that would have ended first.
MOST: Final = 1000
#: Bytes of the file; more is not ours.
_LARGEST: Final = 1024 * 1024


class LiveLogins:
    """The logins that have not ended. Safe for several threads and processes."""

    def __init__(self, path: Path, *, realm: str) -> None:
        """Take the file; logins of another ``realm``, an older token, end now.

        Raises:
            OSError: they cannot be ended.
        """
        self._path = path
        self._realm = realm
        self._guard = threading.Lock()
        #: When each login ends, in Unix seconds, by the digest of its id.
        self._ends: dict[str, int] = {}
        #: Which state of the file that is.
        self._state: tuple[int, ...] | None = None
        stored = _stored(path)
        if stored is not None and stored[0] != realm:
            path.unlink(missing_ok=True)

    def begin(self, login: str, ends: int) -> None:
        """Add a login.

        Raises:
            OSError: it cannot be stored, and does not count.
        """
        with self._alone():
            now = time.time()
            kept = {digest: end for digest, end in self._ends.items() if end > now}
            while len(kept) >= MOST:
                del kept[min(kept, key=kept.__getitem__)]
            kept[_digest(login)] = ends
            self._store(kept)
            self._ends = kept

    def end(self, login: str) -> None:
        """End a login permanently; where that cannot be stored, all of them end.

        Raises:
            OSError: that cannot be stored either.
        """
        with self._alone():
            if self._ends.pop(_digest(login), None) is None:
                return
            try:
                self._store(self._ends)
            except OSError as exc:
                logger.warning(
                    "cannot store that a login has ended (%s): all logins have ended",
                    exc.strerror,
                    extra={"action": "login_unstored"},
                )
                self._path.unlink(missing_ok=True)

    def is_live(self, login: str) -> bool:
        """Return whether a login has begun and not ended; never waits for one that is stored."""
        # The event loop asks, and a disk may take long. Before the file was read once it has to.
        if self._guard.acquire(blocking=self._state is None):
            try:
                self._refresh()
            finally:
                self._guard.release()
        return self._ends.get(_digest(login), 0) > time.time()

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other threads and processes from changing the logins meanwhile."""
        with self._guard:
            # A file of its own: the daemon holds a lock of the directory as long as it lives.
            name = self._path.with_name(f"{self._path.name}.lock")
            lock = os.open(name, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX)
                self._refresh()
                yield
                self._sync_directory()
            finally:
                os.close(lock)

    def _sync_directory(self) -> None:
        directory = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _refresh(self) -> None:
        """Read the file again when another process has changed it."""
        try:
            status = self._path.stat()
            state: tuple[int, ...] = (status.st_ino, status.st_mtime_ns, status.st_size)
        except OSError:
            state = ()
        if state != self._state:
            stored = _stored(self._path)
            is_ours = stored is not None and stored[0] == self._realm
            self._ends = stored[1] if stored is not None and is_ours else {}
            self._state = state

    def _store(self, ends: dict[str, int]) -> None:
        text = json.dumps({"realm": self._realm, "logins": ends})
        draft = self._path.with_name(f"{self._path.name}.new")  # one: the lock is held
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        try:
            descriptor = os.open(draft, flags, 0o600)
            with os.fdopen(descriptor, "w", encoding="ascii") as file:
                file.write(text)
                file.flush()
                os.fsync(file.fileno())
            draft.replace(self._path)
        except OSError:
            with contextlib.suppress(OSError):
                draft.unlink(missing_ok=True)
            raise


def _stored(path: Path) -> tuple[str, dict[str, int]] | None:
    """Return the realm and the logins that a file holds; None when it holds none."""
    try:
        with path.open("rb") as file:
            stored = json.loads(file.read(_LARGEST))
        logins = {str(digest): int(end) for digest, end in stored["logins"].items()}
        return str(stored["realm"]), logins
    except FileNotFoundError:
        return None
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError) as exc:
        logger.warning(
            "cannot read the logins in %s, all have ended: %s",
            path,
            exc,
            extra={"action": "logins_unread"},
        )
        return None


def _digest(login: str) -> str:
    return hashlib.sha256(login.encode("utf-8", "replace")).hexdigest()
