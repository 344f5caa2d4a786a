"""The terminal of a run, seen from behind: loaded by the shim when a script is to have one.

Whoever holds the outer side of a terminal decides how long it lives, so that is the shim, which
outlives the daemon. It copies what the script writes into the file ``stdout``, and what is
written into the FIFO ``stdin`` to the script, as keys. The name of the inner side is in the file
``terminal``: it tells whether the script waits for a key, and whether it shows what is typed.

The shim leads the session, not the script: when the leader of a session ends, the kernel kills
the terminal's foreground with SIGHUP, and what a script leaves behind would not get the SIGTERM
and the grace that it gets in a run without a terminal.

Like the shim it imports next to nothing.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]
import _thread
import fcntl
import os
import select
import struct
import termios
import time
from errno import EAGAIN, EDQUOT, EIO, ENOSPC

#: Columns and lines where the environment does not say.
SIZE = (80, 24)
LARGEST_SIZE = 1000
#: What a script may assume of a terminal that nobody draws; a name that every machine knows.
TERM = b"xterm"
CHUNK_BYTES = 64 * 1024
#: Seconds between looks whether there is room on the disk again.
ROOM_INTERVAL_S = 0.5
#: The first ends a line that has begun, the second the input.
END_KEYS = b"\x04\x04"
#: From asm-generic/termbits.h: erasing a character erases all its bytes. Not in Python's termios.
IUTF8 = 0o40000


class Terminal:
    """A terminal, its way out into a file, and its way in from a FIFO."""

    def __init__(self) -> None:
        """Open it for the environment as it is, with its files in the current directory.

        Raises:
            OSError: the system has none to give.
        """
        try:
            self._outer, self._inner = os.openpty()
            fcntl.ioctl(self._inner, termios.TIOCSCTTY, 0)
        except OSError as exc:
            raise OSError(exc.errno, exc.strerror, b"a terminal") from exc
        os.set_blocking(self._outer, False)
        self._set_up()
        os.environb.setdefault(b"TERM", TERM)
        with open("terminal", "w", encoding="ascii") as file:
            file.write(os.ttyname(self._inner) + "\n")
        os.mkfifo("stdin", 0o600)
        # Read and write: without a writer it would be at its end.
        self._input = os.open("stdin", os.O_RDWR | os.O_NONBLOCK)
        self._output = os.open("stdout", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._end, self._ending = os.pipe()
        self._copying = _thread.allocate_lock()

    def _set_up(self) -> None:
        columns = size_of(os.environb.get(b"COLUMNS"), SIZE[0])
        lines = size_of(os.environb.get(b"LINES"), SIZE[1])
        fcntl.ioctl(self._inner, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        modes = termios.tcgetattr(self._inner)
        modes[0] |= IUTF8
        modes[1] &= ~termios.ONLCR  # the lines of the log end as the script wrote them
        modes[6][termios.VSUSP] = b"\0"  # nobody is there to wake a script that was put to sleep
        termios.tcsetattr(self._inner, termios.TCSANOW, modes)

    def start(self, command: list[bytes], working_directory: bytes) -> int:
        """Start the script in the terminal's foreground and return its process.

        Raises:
            OSError: it cannot be started.
        """
        home = os.open(".", os.O_RDONLY)
        reading, writing = os.pipe()
        os.chdir(working_directory)
        try:
            pid = os.fork()
            if pid == 0:
                self._become(command, writing)
        finally:
            os.fchdir(home)
            os.close(home)
        os.close(writing)
        trouble = os.read(reading, 16)
        os.close(reading)
        if trouble:
            os.waitpid(pid, 0)
            raise OSError(int(trouble), os.strerror(int(trouble)), command[0])
        self._copying.acquire()
        _thread.start_new_thread(self._copy, ())
        return pid

    def _become(self, command: list[bytes], trouble: int) -> None:
        """Turn the child into the script; its end is the report why it could not."""
        try:
            os.setpgid(0, 0)
            # Not in the foreground yet, it would be stopped for this very step.
            signal.pthread_sigmask(signal.SIG_BLOCK, (signal.SIGTTOU,))
            os.tcsetpgrp(self._inner, os.getpid())
            for number in (signal.SIGPIPE, signal.SIGXFSZ):  # Python ignores these two
                signal.signal(number, signal.SIG_DFL)
            for stream in (0, 1, 2):
                os.dup2(self._inner, stream)
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            os.execvp(command[0], command)  # noqa: S606 - the command is the script
        except OSError as exc:
            os.write(trouble, b"%d" % (exc.errno or EIO))
        finally:
            os._exit(127)

    def press_end(self) -> None:
        """End the input after what was typed so far, as Ctrl-D does: twice within a line."""
        try:
            os.write(self._input, END_KEYS)
        except BlockingIOError:  # 64 KB that nobody has read: it will hardly miss their end
            return

    def finish(self) -> None:
        """Return when all that was written is in the file; call it when no process is left."""
        os.write(self._ending, b"\n")
        self._copying.acquire()

    def _copy(self) -> None:
        try:
            self._copy_until_end()
            while self._copy_out():
                continue
        except OSError:
            os.close(self._outer)  # a script that nobody reads must not wait for ever: it hangs up
            raise
        finally:
            self._copying.release()

    def _copy_until_end(self) -> None:
        typed = b""
        while True:
            poll = select.poll()
            poll.register(self._end, select.POLLIN)
            poll.register(self._outer, select.POLLIN | (select.POLLOUT if typed else 0))
            if not typed:
                poll.register(self._input, select.POLLIN)
            ready = dict(poll.poll())
            if self._end in ready:
                return
            if ready.get(self._outer, 0) & ~select.POLLOUT:
                self._copy_out()
            if self._input in ready:
                typed = os.read(self._input, CHUNK_BYTES)
            if typed:
                typed = typed[self._type(typed) :]

    def _type(self, keys: bytes) -> int:
        """Press keys; return how many bytes of them there was room for."""
        try:
            return os.write(self._outer, keys)
        except BlockingIOError:
            return 0

    def _copy_out(self) -> bool:
        """Store what was written; return whether there was anything."""
        try:
            data = os.read(self._outer, CHUNK_BYTES)
        except OSError as exc:
            if exc.errno in (EAGAIN, EIO):  # EIO: no process has the inner side open
                return False
            raise
        while data:
            try:
                data = data[os.write(self._output, data) :]
            except OSError as exc:
                if exc.errno not in (ENOSPC, EDQUOT):
                    raise
                time.sleep(ROOM_INTERVAL_S)  # the script waits meanwhile: the terminal fills up
        return True


def size_of(text: bytes | None, otherwise: int) -> int:
    """Return a number of columns or lines as a variable says it."""
    if text is None or not text.isdigit() or not 0 < int(text) <= LARGEST_SIZE:
        return otherwise
    return int(text)
