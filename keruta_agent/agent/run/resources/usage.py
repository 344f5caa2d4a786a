"""What all processes of a run use at this moment: the script, its children, and what escaped it.

All of them are below the shim, which inherits what a script leaves behind. The shim itself is not
counted, as it is the agent's. psutil is imported at the first look: an agent whose scripts end at
once does without it.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from typing import TYPE_CHECKING

from keruta_agent.agent.run.directory import CLOCK_TICKS_A_SECOND
from keruta_agent.agent.run.resources.descendants import Descendants

if TYPE_CHECKING:
    import psutil

#: A process that cannot be mistaken for a later one: its number and start time.
_Identity = tuple[int, int]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reading:
    """What one look has found."""

    processes: int
    #: Of those, how many no look has found before.
    new_processes: int
    #: Pages that several processes share are counted once, where the kernel tells.
    memory_bytes: int
    #: Seconds of processor time since the run began, also of processes that have ended.
    user_s: float
    system_s: float
    #: Bytes read from and written to disks since the look before.
    read_bytes: int
    write_bytes: int


class UsageReader:
    """The reader of what the processes below one shim use."""

    def __init__(self, shim_pid: int, *, counted_until: float = 0.0) -> None:
        """Begin to look; processes started before ``counted_until`` were counted by others.

        Args:
            shim_pid: the process that looks after the run.
            counted_until: seconds since boot of the last look of an earlier agent.
        """
        self._shim_pid = shim_pid
        self._descendants = Descendants(shim_pid)
        self._counted_until = counted_until
        self._processes: dict[_Identity, psutil.Process] = {}
        self._disk: dict[_Identity, tuple[int, int]] = {}

    def read(self) -> Reading:
        """Return what the run's processes use now."""
        import psutil

        looked_at = {}
        new = memory = 0
        read = written = 0
        # First what has ended, then what lives, the older before the younger, so that parents come
        # before their children: a process that ends meanwhile is missed now, never counted twice.
        user, system = _ended_below(self._shim_pid)
        for start_time, pid in sorted(self._members()):
            identity = (pid, start_time)
            with contextlib.suppress(psutil.Error, OSError):
                process = self._processes.get(identity) or psutil.Process(pid)
                with process.oneshot():
                    times = process.cpu_times()
                    user += times.user + times.children_user
                    system += times.system + times.children_system
                    is_new = self._is_new(identity)
                    looked_at[identity] = process
                    new += is_new
                    memory += _memory(process)
                    fresh_read, fresh_written = self._disk_since(identity, process, is_new)
                    read += fresh_read
                    written += fresh_written
        self._processes = looked_at
        self._disk = {
            identity: self._disk[identity] for identity in looked_at if identity in self._disk
        }
        return Reading(
            processes=len(looked_at),
            new_processes=new,
            memory_bytes=memory,
            user_s=user,
            system_s=system,
            read_bytes=read,
            write_bytes=written,
        )

    def _members(self) -> Iterator[tuple[int, int]]:
        """Yield start time and number of each process of the run."""
        for member in self._descendants.find():
            yield member.start_time, member.pid

    def _is_new(self, identity: _Identity) -> bool:
        if identity in self._processes:
            return False
        return identity[1] / CLOCK_TICKS_A_SECOND >= self._counted_until

    def _disk_since(
        self, identity: _Identity, process: psutil.Process, is_new: bool
    ) -> tuple[int, int]:
        """Return what a process read and wrote since it was counted last."""
        counters = process.io_counters()
        now = (counters.read_bytes, counters.write_bytes)
        before = self._disk.get(identity, (0, 0) if is_new else now)
        self._disk[identity] = now
        return now[0] - before[0], now[1] - before[1]


def _ended_below(shim_pid: int) -> tuple[float, float]:
    """Return the seconds, for the user and in the kernel, of what the shim has seen end."""
    import psutil

    try:
        times = psutil.Process(shim_pid).cpu_times()
    except psutil.Error:
        return 0.0, 0.0
    return times.children_user, times.children_system


def _memory(process: psutil.Process) -> int:
    import psutil

    try:
        return int(process.memory_full_info().pss)
    except (psutil.Error, OSError, AttributeError):  # a process that hides, or an old kernel
        return int(process.memory_info().rss)
