"""What a client may cost an HTTP host: time, bytes and connections."""

from __future__ import annotations

import resource
from dataclasses import dataclass, field
from typing import Final

#: Files that a host leaves to the rest of its process: databases, logs, uploads, children.
_OTHER_FILES: Final = 100
#: More connections than the biggest installation that was measured has (2,000), several times over.
_MOST_CONNECTIONS: Final = 10_000


def open_files() -> int:
    """Return how many files this process may have open."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return _MOST_CONNECTIONS * 2 if soft == resource.RLIM_INFINITY else soft


def allow_open_files(count: int) -> None:
    """Raise the number of files that this process may have open, as far as the system lets it.

    Shells and service managers commonly begin with 1,024, and a thousand agents keep two
    connections each. Children inherit the number.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _share_of_open_files() -> int:
    files = open_files()
    return max(1, min(_MOST_CONNECTIONS, max(files // 2, files - _OTHER_FILES)))


@dataclass(frozen=True)
class Limits:
    """The bounds of one host.

    Attributes:
        connections: open at once. Above it, the connection that a client has kept waiting the
            longest makes room; a refusal (503) only where none waits for its client. From the
            files that the process may open.
        header_timeout_s: for the whole head of a request, from its first byte; for the first one
            of a connection from its beginning, the handshake of TLS included. Heads fit into a
            few packets; ten seconds let a packet be sent again five times.
        header_bytes: of the request line and all header lines. As before, and as much as nginx
            passes on by default.
        header_count: as in Apache; browsers send some twenty, proxies add ten.
        pipelined_requests: that wait for the answer to the one before them. Of a read of 256 KiB
            they could else be 10,000.
        idle_timeout_s: between two requests. Longer than the minute after which proxies close
            idle connections by default: else their next request would meet a closed one.
        body_grace_s: for which a body may stand still. What it comes faster than
            ``slowest_body`` is added, up to this much again.
        slowest_body: bytes a second, below which a body is cut off sooner or later. A tenth of
            the slowest mobile network.
        unread_timeout_s: for which a client may take nothing of what was sent to it. Taking
            anything lets it live on: a slow reader is not a deaf one.
        write_buffer: bytes of answers kept in memory for each connection before its
            application waits. 64 KiB, the default of asyncio, cost 85 MB for 1,000 unread
            streams, this 16 MB.
        drained_bytes: of a body that nobody wants are read, so that a client that sends first and
            reads then, as most libraries do, sees its refusal instead of a reset.
        drain_timeout_s: for that. 256 MiB in a minute are 36 Mbit/s.
        linger_s: for which what else a client sends is ignored after a refusal of the host's own,
            for the same reason.
        check_interval_s: between looks for connections whose time is up.
    """

    connections: int = field(default_factory=_share_of_open_files)
    header_timeout_s: float = 10.0
    header_bytes: int = 32 * 1024
    header_count: int = 100
    pipelined_requests: int = 100
    idle_timeout_s: float = 75.0
    body_grace_s: float = 30.0
    slowest_body: int = 1000
    unread_timeout_s: float = 30.0
    write_buffer: int = 8 * 1024
    drained_bytes: int = 256 * 1024 * 1024
    drain_timeout_s: float = 60.0
    linger_s: float = 2.0
    check_interval_s: float = 0.5
