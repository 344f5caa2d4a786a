"""The shim's records in the run directory: its identity, and how the script ended.

The script can write in that directory, too. So nothing is opened that it may have put in the place
of one of the agent's files, and the exit record is proved by a secret (exit_record.py).

Like the shim it imports next to nothing.
"""

from __future__ import annotations

import os
import time
from _json import encode_basestring_ascii as quoted
from errno import EDQUOT, ENOSPC

from keruta_agent.core.process_tree.proc import process_line

#: Seconds between looks whether there is room on the disk again.
ROOM_INTERVAL_S = 0.5
#: A disk with less room than this is full: what a script writes at once is seldom smaller.
ROOM_BYTES = 4096
#: Why the agent's file may be something else: the script has put it there.
OURS_ONLY = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def claim_the_start() -> bool:
    """Create the file ``identity``, or finds that the script must not start any more."""
    temporary = f"identity.{os.getpid()}"
    with open(temporary, "w", encoding="ascii", opener=private) as file:
        file.write(process_line(os.getpid()))
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(temporary, "identity")
    except FileExistsError:
        return False
    finally:
        os.unlink(temporary)
    return True


def private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def note_process(pid: int) -> None:
    """Note which process the script is."""
    try:
        write_atomically("process", process_line(pid))
    except OSError:  # a full disk must not leave the script alone
        return


def note_signal(number: int, pids: list[int]) -> None:
    """Record the signals that were sent, and to which processes."""
    text = ",".join(map(str, pids))
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | OURS_ONLY
        descriptor = os.open("signals", flags, 0o600)
        try:
            os.write(descriptor, f"{time.time()!r} {int(number)} {text}\n".encode("ascii"))
        finally:
            os.close(descriptor)
    except OSError:  # neither a full disk nor the script must keep anything from being stopped
        return


def full_directory(*directories: bytes) -> str | None:
    """Return the first directory on a disk without room for a file, or for more of one."""
    for directory in directories:
        try:
            disk = os.statvfs(directory)
        except OSError:  # the script removed it
            continue
        free = disk.f_bavail if os.geteuid() else disk.f_bfree
        # Some file systems do not count their files.
        if free * disk.f_frsize < ROOM_BYTES or (disk.f_files and not disk.f_ffree):
            return os.path.abspath(os.fsdecode(directory))
    return None


def record(
    started_at: float,
    proof: str,
    *,
    status: int | None = None,
    error: str | None = None,
    stopped: bool = False,
    swept: int = 0,
    full: str | None = None,
) -> None:
    """Write the exit record: the last thing that happens to a run."""
    import resource  # here, because the script need not wait for it

    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    code = number = "null"
    if status is not None and os.WIFSIGNALED(status):
        number = str(os.WTERMSIG(status))
    elif status is not None:
        code = str(os.WEXITSTATUS(status))
    text = (
        f'{{"exit_code": {code}, "signal": {number}, '
        f'"error": {"null" if error is None else quoted(error)}, '
        f'"stopped": {"true" if stopped else "false"}, "swept": {swept}, '
        f'"full": {"null" if full is None else quoted(full)}, '
        f'"started_at": {started_at!r}, "ended_at": {time.time()!r}, '
        f'"user_s": {used.ru_utime!r}, "system_s": {used.ru_stime!r}, '
        f'"max_rss_kb": {used.ru_maxrss}, '
        f'"blocks_in": {used.ru_inblock}, "blocks_out": {used.ru_oublock}, '
        f'"proof": "{proof}"}}\n'
    )
    while True:
        try:
            write_atomically("exit", text)
            return
        except OSError as exc:
            if exc.errno not in (ENOSPC, EDQUOT):
                raise
            time.sleep(ROOM_INTERVAL_S)  # without the record the end would be taken for lost


def write_atomically(name: str, text: str) -> None:
    """Put the agent's file in the place of whatever the script may have made there.

    Raises:
        OSError: it cannot be written.
    """
    temporary = f"{name}.{os.getpid()}"
    if os.path.lexists(temporary):
        os.unlink(temporary)  # a FIFO in its place would be waited for
    with open(temporary, "w", encoding="ascii", opener=fresh) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.rename(temporary, name)
    home = os.open(".", os.O_RDONLY)
    os.fsync(home)
    os.close(home)


def fresh(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_EXCL | OURS_ONLY, 0o600)
