"""The open connections of a host, and which of them makes room for the next one.

There is no fixed bound for one peer: a thousand agents behind one proxy are one peer. Instead,
when all places are taken, the peer that keeps most of them waiting gives up the oldest of its own,
and connections on which nothing useful has come go before all others. So strangers with half
requests compete with each other, and keep nobody else out.
"""

from __future__ import annotations

import collections
import heapq
import ipaddress
import logging
from enum import IntEnum
from typing import Final, Protocol

logger = logging.getLogger(__name__)

#: The part of all places that is freed at once: else each new connection of a flood would cost a
#: look at all that are open.
_FREED_PART: Final = 50
#: Bits of an IPv6 address that tell networks apart; the rest is the client's own choice.
_NETWORK_V6: Final = 64


class Waiting(IntEnum):
    """What a connection waits for its client for; the first are the first to make room."""

    FOR_A_HEAD = 0
    IDLE = 1
    FOR_A_BODY = 2


class Connection(Protocol):
    """What the connections of a host have in common."""

    #: Its ``network``.
    peer: str
    #: When something last came from the client, by the clock of the event loop.
    heard_at: float

    @property
    def is_new(self) -> bool:
        """Whether no request has come on it yet."""

    @property
    def waiting(self) -> Waiting | None:
        """What it waits for; None when its client waits for an answer."""

    def check(self, now: float) -> None:
        """Close it, if its time is up."""

    def abort(self) -> None:
        """Close it now, whatever is unsent."""


class Connections:
    """All connections of one host, for the thread of its event loop."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._open: set[Connection] = set()

    def __len__(self) -> int:
        return len(self._open)

    def __bool__(self) -> bool:
        return bool(self._open)

    def all(self) -> list[Connection]:
        """Return those that are open now."""
        return list(self._open)

    def add(self, connection: Connection) -> None:
        """Count a connection."""
        self._open.add(connection)

    def discard(self, connection: Connection) -> None:
        """Count a connection no more."""
        self._open.discard(connection)

    def is_full(self) -> bool:
        """Return whether the next one needs room to be made."""
        return len(self._open) >= self._most

    def any_new(self) -> bool:
        """Return whether there is one on which no request has come yet."""
        return any(connection.is_new for connection in self._open)

    def check(self, now: float) -> None:
        """Close those whose time is up."""
        for connection in self.all():
            try:
                connection.check(now)
            except Exception:  # one connection must not end the host
                logger.exception(
                    "a connection could not be checked", extra={"action": "server_connection"}
                )
                connection.abort()

    def make_room(self) -> bool:
        """Close the connections that are missed least; return whether there were any."""
        waiting = [
            (kind, connection)
            for connection in self._open
            if (kind := connection.waiting) is not None
        ]
        count = collections.Counter(connection.peer for _, connection in waiting)
        chosen = heapq.nsmallest(
            max(1, self._most // _FREED_PART),
            waiting,
            key=lambda each: (each[0], -count[each[1].peer], each[1].heard_at),
        )
        for _, connection in chosen:
            self.discard(connection)
            connection.abort()
        return bool(chosen)


def network(peer: str) -> str:
    """Return what stands for all addresses that one client can easily have."""
    if ":" not in peer:
        return peer
    try:
        address = ipaddress.IPv6Address(peer)
    except ValueError:
        return peer
    if address.ipv4_mapped is not None:
        return str(address.ipv4_mapped)
    return str(int(address) >> (128 - _NETWORK_V6))
