"""One agent a base directory: a lock that the kernel frees when its holder dies."""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from keruta_agent.agent.store.sqlite.database import make_private_directory
from keruta_agent.core import errors
from keruta_agent.core.process_tree.proc import process_state

logger = logging.getLogger(__name__)

LOCK_NAME: Final = "agent.lock"
#: The pid stands in a file of its own: a lock file is not to be read or written.
PID_NAME: Final = "agent.pid"
#: Seconds within which the holder of the lock has written its pid.
PID_TIMEOUT_S: Final = 2.0


#: The locked directory's descriptor, for the image that replaces this one.
HANDED_OVER: Final = "KERUTA_LOCK_FD"


@contextlib.contextmanager
def agent_lock(base_dir: Path) -> Iterator[int]:
    """Hold the lock of a base directory; give what ``hand_over`` takes.

    The directory itself is locked as well: a file can be removed while it is held, and then the
    next daemon would lock another one of that name.

    Raises:
        AlreadyRunning: another agent holds it.
        AgentStateError: the directory cannot be used.
    """
    make_private_directory(base_dir)
    with _directory_lock(base_dir) as descriptor, _file_lock(base_dir):
        yield descriptor


def hand_over(descriptor: int) -> None:
    """Keep the lock while this process replaces itself: no other daemon gets in between."""
    os.set_inheritable(descriptor, True)
    os.environ[HANDED_OVER] = str(descriptor)


def _handed_over(base_dir: Path) -> int | None:
    number = os.environ.pop(HANDED_OVER, "")
    if not number.isdigit():
        return None
    descriptor = int(number)
    try:
        os.set_inheritable(descriptor, False)
        if os.path.samestat(os.fstat(descriptor), base_dir.stat()):
            return descriptor
        os.close(descriptor)
    except OSError as exc:
        logger.debug("no lock was handed over: %s", exc, extra={"action": "unlocked"})
    return None


@contextlib.contextmanager
def _directory_lock(base_dir: Path) -> Iterator[int]:
    descriptor = _handed_over(base_dir)
    if descriptor is None:
        descriptor = os.open(base_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as exc:
            raise _already_running(base_dir) from exc
        except OSError as exc:  # a network's file system; the lock file must do
            logger.debug("cannot lock %s: %s", base_dir, exc, extra={"action": "unlocked"})
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _file_lock(base_dir: Path) -> Iterator[None]:
    lock = FileLock(base_dir / LOCK_NAME, mode=0o600)
    try:
        lock.acquire(timeout=0)
    except Timeout as exc:
        raise _already_running(base_dir) from exc
    except OSError as exc:
        raise errors.AgentStateError(
            f"cannot lock the directory {base_dir}: {exc.strerror}"
        ) from exc
    pid_file = base_dir / PID_NAME
    try:
        pid_file.write_text(f"{os.getpid()}\n", encoding="ascii")
        yield
    finally:
        pid_file.unlink(missing_ok=True)
        lock.release()


def holder(base_dir: Path) -> int | None:
    """Return the pid of the agent that holds the lock, None when neither it nor the kernel says.

    The kernel is asked last, and only of an agent whose file was removed: it may give the number
    that the process has in another container.
    """
    try:
        return int((base_dir / PID_NAME).read_text(encoding="ascii"))
    except (OSError, ValueError):
        pids = _lock_holders(base_dir)
        return pids[0] if pids else None


def is_held(base_dir: Path) -> bool:
    """Return whether an agent holds the lock, without touching it.

    To try the lock would keep out a daemon that starts at this very moment, so the kernel's list
    of locks is read; where there is none, the pid must do.
    """
    pids = _lock_holders(base_dir)
    if pids is not None:
        return bool(pids)
    pid = holder(base_dir)
    return pid is not None and process_state(pid) is not None


def _lock_holders(base_dir: Path) -> list[int] | None:
    """Return the processes that hold a directory's lock, None where the kernel lists none."""
    inodes = set()
    for path in (base_dir, base_dir / LOCK_NAME):
        with contextlib.suppress(OSError):
            inodes.add(str(path.stat().st_ino))
    try:
        held = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    # "1: FLOCK  ADVISORY  WRITE 1234 08:01:5678 0 EOF"; a waiting process has "->" before FLOCK.
    locks = [fields for line in held if "FLOCK" in (fields := line.split()) and "->" not in fields]
    return [int(fields[-4]) for fields in locks if fields[-3].rpartition(":")[2] in inodes]


def _living_holder(base_dir: Path) -> int | None:
    """Return the pid of the agent that holds the lock; one that just took it gets time to say it.

    Until then the file is missing, or holds the pid of one that was killed.
    """
    deadline = time.monotonic() + PID_TIMEOUT_S
    while time.monotonic() < deadline:
        pid = holder(base_dir)
        if pid is not None and pid != os.getpid() and process_state(pid) is not None:
            return pid
        time.sleep(0.02)
    return None


def _already_running(base_dir: Path) -> errors.AlreadyRunning:
    pid = _living_holder(base_dir)
    who = f"process {pid}" if pid is not None else "another process"
    return errors.AlreadyRunning(
        f"a keruta agent is running already for {base_dir}: {who}",
        advice="Stop that one first, or give this one another directory with KERUTA_BASE_DIR",
    )
