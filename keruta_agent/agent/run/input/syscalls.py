"""The parser of /proc/<pid>/syscall: which descriptors a blocked thread waits on.

The line holds the number of the system call, its six arguments, the stack pointer and the program
counter; ``running`` stands for a thread that is not blocked, and -1 for one that is blocked
outside of any system call (proc(5)).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Final


@dataclasses.dataclass(frozen=True, kw_only=True)
class Read:
    """A wait for bytes of one descriptor."""

    descriptor: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Poll:
    """A wait for one of the descriptors in an array of ``struct pollfd``."""

    address: int
    count: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Select:
    """A wait for one of the descriptors in a bit set."""

    address: int
    highest: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Epoll:
    """A wait for one of the descriptors that an epoll descriptor holds."""

    descriptor: int


Wait = Read | Poll | Select | Epoll

# Numbers: arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h of Linux
# 6.12. Readers are given with the position of the descriptor that they read from.
_X86_64_READERS: Final = {
    0: 0,  # read
    17: 0,  # pread64
    19: 0,  # readv
    40: 1,  # sendfile
    275: 0,  # splice
    276: 0,  # tee
    295: 0,  # preadv
    326: 0,  # copy_file_range
    327: 0,  # preadv2
}
_ARM64_READERS: Final = {
    63: 0,  # read
    65: 0,  # readv
    67: 0,  # pread64
    69: 0,  # preadv
    71: 1,  # sendfile
    76: 0,  # splice
    77: 0,  # tee
    285: 0,  # copy_file_range
    286: 0,  # preadv2
}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Table:
    """The system calls of one machine that can wait for input."""

    readers: Mapping[int, int]
    polls: frozenset[int]
    selects: frozenset[int]
    epolls: frozenset[int]


#: By machine, as os.uname() names it.
TABLES: Final = {
    "x86_64": Table(
        readers=_X86_64_READERS,
        polls=frozenset({7, 271}),  # poll, ppoll
        selects=frozenset({23, 270}),  # select, pselect6
        epolls=frozenset({232, 281, 441}),  # epoll_wait, epoll_pwait, epoll_pwait2
    ),
    "aarch64": Table(
        readers=_ARM64_READERS,
        polls=frozenset({73}),  # ppoll
        selects=frozenset({72}),  # pselect6
        epolls=frozenset({22, 441}),  # epoll_pwait, epoll_pwait2
    ),
}


def parse(line: str, table: Table) -> Wait | None:
    """Return what a thread waits on; None when it runs or waits for something else.

    Raises:
        ValueError: this is no such line.
    """
    fields = line.split()
    if fields == ["running"]:
        return None
    number = int(fields[0]) if fields else None
    if number is None:
        raise ValueError("an empty line")
    if number < 0:
        return None
    arguments = [int(field, 16) for field in fields[1:7]]
    if len(arguments) < 6:
        raise ValueError(f"a system call with {len(arguments)} arguments")
    if number in table.readers:
        return Read(descriptor=_descriptor(arguments[table.readers[number]]))
    if number in table.polls:
        return Poll(address=arguments[0], count=arguments[1])
    if number in table.selects:
        return Select(address=arguments[1], highest=_descriptor(arguments[0]))
    if number in table.epolls:
        return Epoll(descriptor=_descriptor(arguments[0]))
    return None


def _descriptor(argument: int) -> int:
    """Return an int argument: the upper half of its register means nothing."""
    return argument & 0x7FFF_FFFF
