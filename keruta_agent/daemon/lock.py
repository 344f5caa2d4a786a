"""One agent a base directory: a lock that the kernel frees when its holder dies."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from keruta_agent import errors
from keruta_agent.records.database import make_private_directory
from keruta_agent.runs.directory import process_state

LOCK_NAME: Final = "agent.lock"
#: The pid stands in a file of its own: a lock file is not to be read or written.
PID_NAME: Final = "agent.pid"
#: Seconds within which the holder of the lock has said who it is.
PID_PATIENCE_S: Final = 2.0


@contextlib.contextmanager
def agent_lock(base_dir: Path) -> Iterator[None]:
    """Holds the lock of a base directory.

    Raises:
        AlreadyRunning: another agent holds it.
        AgentStateError: the directory cannot be used.
    """
    make_private_directory(base_dir)
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
    """Returns the pid of the agent that holds the lock, None when it does not say."""
    try:
        return int((base_dir / PID_NAME).read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def is_held(base_dir: Path) -> bool:
    """Tells whether an agent holds the lock, without touching it.

    To try the lock would keep out a daemon that starts at this very moment, so the kernel's list
    of locks is read; where there is none, the pid must do.
    """
    try:
        inode = (base_dir / LOCK_NAME).stat().st_ino
    except OSError:
        return False
    try:
        held = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        pid = holder(base_dir)
        return pid is not None and process_state(pid) is not None
    places = [fields[-3] for line in held if "FLOCK" in (fields := line.split())]
    return any(place.rpartition(":")[2] == str(inode) for place in places)


def _living_holder(base_dir: Path) -> int | None:
    """Returns the pid of the agent that holds the lock; one that just took it gets time to say it.

    Until then the file is missing, or tells the pid of one that was killed.
    """
    deadline = time.monotonic() + PID_PATIENCE_S
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
