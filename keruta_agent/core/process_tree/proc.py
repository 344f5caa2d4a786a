"""Processes in /proc, and their parents.

The shim and the supervisor import this before a script may start, so it imports next to nothing.
"""

from __future__ import annotations

import os


def process_state(pid: int) -> tuple[str, int] | None:
    """Return a process's state letter and start time, None when there is no such process."""
    fields = _stat(pid)
    return None if fields is None else (fields[0].decode("ascii"), int(fields[19]))


def session_of(pid: int) -> int | None:
    """Return the session that a process belongs to, None when there is no such process."""
    fields = _stat(pid)
    return None if fields is None else int(fields[3])


def process_line(pid: int) -> str:
    """Return ``pid start-time boot-id``: together they name one process for ever."""
    found = process_state(pid)
    if found is None:
        raise ProcessLookupError(pid)
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return f"{pid} {found[1]} {file.read().strip()}\n"


def descendants(ancestor: int) -> list[int]:
    """Return the living processes below one."""
    return [pid for pid, letter in _below(ancestor) if letter not in (b"Z", b"X")]


def group_members(group: int) -> list[int]:
    """Return the living processes of a process group."""
    found = []
    for pid in all_pids():
        fields = _stat(pid)
        if fields is not None and int(fields[2]) == group and fields[0] not in (b"Z", b"X"):
            found.append(pid)
    return found


def children(parent: int) -> list[tuple[int, int]]:
    """Return pid and start time of the children of a process, also of those not reaped yet."""
    found = []
    listed = _children_of_threads(parent)
    for pid in all_pids() if listed is None else listed:
        fields = _stat(pid)
        if fields is not None and int(fields[1]) == parent:
            found.append((pid, int(fields[19])))
    return found


def all_pids() -> list[int]:
    """Return the number of every process that /proc shows."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def _children_of_threads(parent: int) -> list[int] | None:
    """Return the children as the kernel lists them; None where it does not."""
    found = []
    try:
        for thread in os.listdir(f"/proc/{parent}/task"):
            with open(f"/proc/{parent}/task/{thread}/children", "rb") as file:
                found += [int(pid) for pid in file.read().split()]
    except OSError:  # a kernel without it, or a thread that has just ended
        return None
    return found


def _below(ancestor: int) -> list[tuple[int, bytes]]:
    below: dict[int, list[tuple[int, bytes]]] = {}
    for pid in all_pids():
        fields = _stat(pid)
        if fields is not None:
            below.setdefault(int(fields[1]), []).append((pid, fields[0]))
    found: list[tuple[int, bytes]] = []
    unseen = [ancestor]
    while unseen:
        here = below.get(unseen.pop(), [])
        found += here
        unseen += [pid for pid, _ in here]
    return found


def _stat(pid: int) -> list[bytes] | None:
    """Return the fields of /proc/PID/stat after the name, None when it cannot be read."""
    try:
        with open(f"/proc/{pid}/stat", "rb", buffering=0) as file:
            text = file.read()
    except OSError:  # it has ended, or this /proc hides it
        return None
    # The name stands in parentheses and may itself hold spaces and parentheses.
    return text.rpartition(b")")[2].split()
