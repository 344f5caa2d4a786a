"""The socket that a host listens on: how it is made, and how it is closed without a loss."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import socket
import struct
from typing import Any, Final

from keruta_agent.core import errors

#: Connections that the kernel keeps while the loop is busy: a thousand agents come back together.
LISTEN_QUEUE: Final = 1024
#: Bytes that the kernel takes beyond what the client's window lets out; the rest counts as unread.
_NOT_SENT: Final = 128 * 1024
#: Of Linux; the module ``socket`` does not know it.
_SO_ATTACH_FILTER: Final = 26
#: A packet filter of one instruction: take nothing of it (BPF_RET | BPF_K, 0).
_DROP: Final = struct.pack("HBBI", 0x06, 0, 0, 0)


def listen(host: str, port: int, unread_timeout_s: float) -> socket.socket:
    """Return a socket that listens, and does not block.

    Raises:
        AgentStateError: the address cannot be used.
    """
    try:
        # The port is not asked for: glibc takes 70000 for 4464.
        found = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, _, _, _, address = found[0]
        return _bound(family, (address[0], port, *address[2:]), unread_timeout_s)
    except (OSError, OverflowError) as exc:
        raise _cannot_listen(f"{host} port {port}", exc) from exc


def _bound(family: int, address: Any, unread_timeout_s: float) -> socket.socket:
    # asyncio sends without delay only where the protocol is named; else each answer whose head and
    # body are two writes would wait 40 ms for the client's acknowledgement.
    listening = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6 and address[0] == "::":
            # Every address means those of IPv4, too.
            listening.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        # Connections inherit both. What nobody takes ends also after the process has closed it,
        # or when its client has vanished without a word. Twice the time: the host resets first.
        listening.setsockopt(
            socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(2 * unread_timeout_s * 1000)
        )
        # Else the kernel alone keeps megabytes for each deaf client.
        listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NOTSENT_LOWAT, _NOT_SENT)
        listening.bind(address)
        listening.listen(LISTEN_QUEUE)
        listening.setblocking(False)
    except BaseException:
        listening.close()
        raise
    return listening


def _cannot_listen(where: str, exc: OSError | OverflowError) -> errors.AgentStateError:
    if isinstance(exc, OSError) and exc.errno == errno.EADDRINUSE:
        return errors.AgentStateError(
            f"cannot listen on {where}: it is in use",
            advice="Stop the other program, or choose another port with --port",
        )
    return errors.AgentStateError(
        f"cannot listen on {where}: {exc}",
        advice="Choose another address with --host and --port",
    )


def take_no_more(listening: socket.socket) -> None:
    """Have the kernel connect no more clients to a socket that is about to be closed.

    It completes connections by itself, and resets those that nobody has accepted when the socket is
    closed: a client that was connected in the last moment would lose its request. One whose packet
    is dropped tries again, and is refused then, which says that it may go elsewhere.
    """
    instructions = ctypes.create_string_buffer(_DROP)
    program = struct.pack("HL", 1, ctypes.addressof(instructions))
    with contextlib.suppress(OSError):  # in a sandbox without filters
        listening.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
