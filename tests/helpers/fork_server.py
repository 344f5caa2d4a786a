"""A process that has imported all of ``keruta``, and forks one running program after the other.

An interpreter that imports the program takes half a second of a processor, a fork some hundredths.
What is forked is the program as its console script starts it: with a session, descriptors, an
environment, arguments and a directory of its own. Only ``/proc/PID/cmdline`` and ``environ`` show
the server's. It has a single thread, as whoever forks must.

``forked.py`` starts it and asks it. Each request brings a socket of its own, by which the server
answers with the process id, and later with the exit code.
"""

from __future__ import annotations

import atexit
import contextlib
import gc
import importlib
import io
import json
import os
import pkgutil
import selectors
import signal
import socket
import sys
from typing import Any

import keruta_agent
from keruta_agent.cli import entry

#: Bytes of the largest request: an environment, and arguments.
MOST_BYTES = 2**17
#: Descriptors of a request: the socket for the answers, and three standard streams.
DESCRIPTORS = 4
#: No part of an installed agent's everyday commands.
_LEFT_OUT = ("keruta_agent.__main__", "keruta_agent.soak", "keruta_agent.testing")
#: What the runner loads when it asks a model, in more time than all the rest takes.
_MODEL_LIBRARY = "openai.resources.chat.completions"


class ForkServer:
    """The loop of the server; it goes on in the fork as well, which leaves it at once."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._answers: dict[int, socket.socket] = {}
        self._woken, self._waking = socket.socketpair()
        self._woken.setblocking(False)
        self._waking.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(control, selectors.EVENT_READ)
        self._selector.register(self._woken, selectors.EVENT_READ)
        signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
        signal.set_wakeup_fd(self._waking.fileno(), warn_on_full_buffer=False)

    def run(self) -> bool:
        """Fork for each request; return True in each fork, and False when no more can come."""
        while True:
            ready = [key.fileobj for key, _ in self._selector.select()]
            if self._woken in ready:
                self._woken.recv(MOST_BYTES)
                self._report_ends()
            if self._control in ready:
                data, descriptors, _, _ = socket.recv_fds(self._control, MOST_BYTES, DESCRIPTORS)
                if not data:
                    return False
                if self._fork(json.loads(data), *descriptors):
                    return True

    def _fork(self, request: dict[str, Any], answer: int, *standard: int) -> bool:
        """Return True in the fork."""
        pid = os.fork()
        if pid == 0:
            self._close()
            os.close(answer)
            _become(request, standard)
            return True
        for descriptor in standard:
            os.close(descriptor)
        self._answers[pid] = socket.socket(fileno=answer)
        self._answers[pid].sendall(str(pid).encode("ascii"))
        return False

    def _report_ends(self) -> None:
        while self._answers:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if pid == 0:
                return
            with self._answers.pop(pid) as answer:
                try:
                    answer.sendall(str(os.waitstatus_to_exitcode(status)).encode("ascii"))
                except OSError:  # nobody waits for it any more
                    continue

    def _close(self) -> None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._selector.close()
        for opened in (self._control, self._woken, self._waking, *self._answers.values()):
            opened.close()


def _become(request: dict[str, Any], standard: tuple[int, ...]) -> None:
    """Turn the fork into what a new interpreter would be."""
    os.setsid()
    for wanted, descriptor in enumerate(standard):
        os.dup2(descriptor, wanted)
        os.close(descriptor)
    _open_standard_streams()
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["directory"])
    sys.argv = request["arguments"]
    sys.orig_argv = [sys.executable, *sys.argv]


def _open_standard_streams() -> None:
    """Open them as the interpreter does: whether they can seek, for one, is asked only then."""
    modes = (("stdin", "r"), ("stdout", "w"), ("stderr", "w"))
    for number, (name, mode) in enumerate(modes):
        old = getattr(sys, name)
        stream = io.open(  # noqa: SIM115, UP020 - open until the end
            number, mode, encoding=old.encoding, errors=old.errors, closefd=False
        )
        stream.reconfigure(line_buffering=name == "stderr" or stream.isatty())
        setattr(sys, name, stream)
        setattr(sys, f"__{name}__", stream)


def _import_everything() -> None:
    for module in pkgutil.walk_packages(keruta_agent.__path__, "keruta_agent."):
        if not module.name.startswith(_LEFT_OUT):
            importlib.import_module(module.name)
    with contextlib.suppress(ImportError):
        importlib.import_module(_MODEL_LIBRARY)


def main() -> int:
    """Serve until the tests have closed their end; in a fork, be the program."""
    control = socket.socket(fileno=int(sys.argv[1]))
    _import_everything()
    gc.collect()
    gc.freeze()
    return _be_the_program() if ForkServer(control).run() else 0


def _be_the_program() -> int:
    code = 1  # what an exception ends with

    def leave() -> None:
        """Skip the end of each module: to copy the memory of all would take as long as the rest."""
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

    atexit.register(leave)  # called when all threads and all other handlers are done
    code = entry.main()
    return code


if __name__ == "__main__":
    sys.exit(main())
