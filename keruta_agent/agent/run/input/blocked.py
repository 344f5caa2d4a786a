"""Which process below a shim is blocked on the run's standard input, as the kernel tells it."""

from __future__ import annotations

import dataclasses
import errno
import os
import stat
import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from keruta_agent.agent.run.files import read_kernel
from keruta_agent.agent.run.input import syscalls
from keruta_agent.agent.run.resources.descendants import Descendant

#: Bits of struct pollfd and of fdinfo's epoll lines: POLLIN and POLLRDNORM, EPOLLIN alike.
READABLE: Final = 0x0001 | 0x0040
_POLLFD: Final = struct.Struct("=ihh")
#: Most descriptors of a poll that are looked at; a process has 1024, unless it is a big server.
MOST_POLLED: Final = 4096


class UntellableError(Exception):
    """The kernel does not let us see what a process waits for."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reader:
    """A process that waits for bytes of the standard input."""

    pid: int
    #: Whether it waits for a connection or another terminal as well: a client that passes the
    #: standard input on, and waits for an answer from the far end as likely as for us.
    waits_for_others: bool


def find_reader(
    processes: list[Descendant],
    is_input: Callable[[os.stat_result, int], bool],
    table: syscalls.Table,
) -> Reader | None:
    """Return the first of these processes that is blocked on the input.

    ``is_input`` tells it by an open file and the number of the process that has it open.

    Raises:
        UntellableError: none was found, and at least one of them cannot be looked at.
    """
    blind = False
    for process in processes:
        try:
            for wait in _waits(process, table):
                reader = _Files(process.pid, is_input).reader(wait)
                if reader is not None:
                    return reader
        except UntellableError:
            blind = True
    if blind:
        raise UntellableError
    return None


def _waits(process: Descendant, table: syscalls.Table) -> Iterator[syscalls.Wait]:
    """Yield what the threads of a process wait for."""
    for thread in _threads(process):
        line = read_call(process.pid, thread)
        if line is None:
            continue
        try:
            wait = syscalls.parse(line, table)
        except ValueError:
            raise UntellableError from None
        if wait is not None:
            yield wait


def _threads(process: Descendant) -> list[int]:
    if process.threads == 1:
        return [process.pid]
    try:
        return [int(name) for name in os.listdir(f"/proc/{process.pid}/task")]
    except OSError:  # it has ended
        return []


def read_call(pid: int, thread: int) -> str | None:
    """Return a thread's line of /proc/<pid>/syscall, None when the thread has ended.

    Raises:
        UntellableError: the line cannot be read.
    """
    try:
        return read_kernel(f"/proc/{pid}/task/{thread}/syscall").decode("ascii")
    except OSError as exc:
        if exc.errno == errno.ESRCH or not os.path.exists(f"/proc/{pid}/task/{thread}"):
            return None
        raise UntellableError from exc


class _Files:
    """The open files of one process."""

    def __init__(self, pid: int, is_input: Callable[[os.stat_result, int], bool]) -> None:
        self._pid = pid
        self._is_input = is_input

    def reader(self, wait: syscalls.Wait) -> Reader | None:
        """Return whether this is a wait for the input."""
        descriptors = self._awaited(wait)
        found = [self._kind(descriptor) for descriptor in descriptors]
        if "input" not in found:
            return None
        return Reader(pid=self._pid, waits_for_others="other" in found)

    def _awaited(self, wait: syscalls.Wait) -> list[int]:
        match wait:
            case syscalls.Read():
                return [wait.descriptor]
            case syscalls.Poll():
                return self._polled(wait)
            case syscalls.Select():
                return self._selected(wait)
            case syscalls.Epoll():
                return self._epolled(wait)

    def _polled(self, wait: syscalls.Poll) -> list[int]:
        data = self._memory(wait.address, min(wait.count, MOST_POLLED) * _POLLFD.size)
        return [
            descriptor
            for descriptor, events, _ in _POLLFD.iter_unpack(data)
            if descriptor >= 0 and events & READABLE
        ]

    def _selected(self, wait: syscalls.Select) -> list[int]:
        highest = min(wait.highest, MOST_POLLED)
        if not wait.address:
            return []
        # The kernel reads whole words, so there are as many bytes as that.
        data = self._memory(wait.address, (highest + 63) // 64 * 8)
        bits = int.from_bytes(data, "little")
        return [descriptor for descriptor in range(highest) if bits >> descriptor & 1]

    def _epolled(self, wait: syscalls.Epoll) -> list[int]:
        found = []
        for line in self._fdinfo(wait.descriptor).splitlines():
            fields = line.split()
            # tfd:        0 events:       19 data: ...
            if len(fields) > 3 and fields[0] == "tfd:" and int(fields[3], 16) & READABLE:
                found.append(int(fields[1]))
        return found

    def _fdinfo(self, descriptor: int) -> str:
        try:
            path = Path(f"/proc/{self._pid}/fdinfo/{descriptor}")
            return path.read_text(encoding="ascii")
        except OSError:  # closed meanwhile, or the process has ended
            return ""

    def _memory(self, address: int, size: int) -> bytes:
        try:
            descriptor = os.open(f"/proc/{self._pid}/mem", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return b""
        try:
            data = os.pread(descriptor, size, address)
        except (OSError, OverflowError):
            return b""
        finally:
            os.close(descriptor)
        return data[: len(data) // _POLLFD.size * _POLLFD.size]

    def _kind(self, descriptor: int) -> str:
        """Classify a descriptor: the input, another channel of a person or peer, or the rest."""
        try:
            found = os.stat(f"/proc/{self._pid}/fd/{descriptor}")
        except OSError:
            return "closed"
        if self._is_input(found, self._pid):
            return "input"
        if stat.S_ISSOCK(found.st_mode) or stat.S_ISCHR(found.st_mode):
            return "other"
        return "inner"
