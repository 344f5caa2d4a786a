"""The shim: starts one script, supervises its processes, and records how it ended.

The shim is a program of its own, not a module of the agent: it outlives the daemon, so that a
script's end is known even when no daemon was there to see it. It is started as
``python -I -S shim.py`` and waits on its standard input for what to do, so that one can be
started ahead of its time: the start of an interpreter is most of what a script would wait for.
An end of the input without instructions ends it, so that none outlives its daemon unused.

It makes itself a child sub-reaper, so that every process that the script leaves behind
becomes the shim's child, double fork and setsid or not. SIGTERM makes it stop them all: SIGTERM
to each, the grace period, SIGKILL. The same happens to what is left when the script has ended.
The file ``exit`` therefore means: nothing is left.

Nobody can write its record in its stead: it proves the record with a secret (exit_record.py) that
it comes on standard input, and no other process of the same user can read its memory.

It imports next to nothing, not even pathlib: each millisecond here delays every task.
"""

from __future__ import annotations

import os
import sys
import time

if __name__ == "__main__":  # -I and -S keep the package off the path
    sys.path.append(os.path.abspath(__file__).rpartition("/keruta_agent/")[0])
from keruta_agent.agent.run.evidence import (
    claim_the_start,
    full_directory,
    note_process,
    note_signal,
    record,
)
from keruta_agent.core.process_tree.prctl import become_subreaper, deny_inspection
from keruta_agent.core.process_tree.watch import PYTHONS, Watch, forget_inherited_signals

TYPE_CHECKING = False  # typing's own takes time to import
if TYPE_CHECKING:
    from keruta_agent.agent.run.terminal import Terminal

#: What the kernel looks at when it must kill for want of memory, from -1000 to 1000.
OOM_SCORE_FILE = "/proc/self/oom_score_adj"
#: As if a script used half of the memory more than it does: it shall go before the agent, the
#: shim, and whatever else keeps the machine within reach.
SCRIPT_OOM_SCORE = 500
#: What the script is to have as its standard input; anything else is an empty one.
FIFO = b"fifo"
TERMINAL = b"terminal"
#: First field of instructions that hold a secret. A daemon that was started before an upgrade
#: knows of none, and begins with the directory.
WITH_SECRET = b"with secret"
#: Last field of complete instructions.
END = b"end"


class ScriptWatch(Watch):
    """The watch over a script: records signals sent, and closes its input on request."""

    def __init__(
        self, pid: int, grace_s: float, writing: int | None, terminal: Terminal | None
    ) -> None:
        super().__init__(pid, grace_s)
        #: What keeps the script from seeing the end of its input; None when nothing does.
        self.writing = writing
        self.terminal = terminal

    def end_input(self) -> None:
        """Close the script's input once it has read what is there."""
        if self.writing is not None:
            os.close(self.writing)
            self.writing = None
        if self.terminal is not None:
            self.terminal.press_end()

    def note(self, number: int, pids: list[int]) -> None:
        """Record in the run directory which processes are sent a signal."""
        note_signal(number, pids)


def main() -> None:
    become_subreaper()
    forget_inherited_signals()
    score_file = open_oom_score()
    deny_inspection()
    instructions = read_instructions(sys.stdin.buffer.read())
    if instructions is None:
        return
    directory, working_directory, grace, wanted_input, command, environment, proof = instructions
    os.chdir(directory)
    complain_here()
    terminal_class = load_terminal() if wanted_input == TERMINAL else None
    if not claim_the_start():
        return
    started_at = time.time()
    # The search for the program, and what it inherits, are the script's own.
    os.environb.clear()
    os.environb.update(environment)
    terminal = writing = None
    own_score = oom_score(score_file)
    set_oom_score(score_file, max(own_score, SCRIPT_OOM_SCORE))  # inherited by what is started
    try:
        if terminal_class is not None:
            terminal = terminal_class()
            pid = terminal.start(command, working_directory)
        else:
            reading, writing = open_input(wanted_input)
            pid = start(command, working_directory, [reading, *open_outputs()])
    except OSError as exc:
        what = os.fsdecode(exc.filename if exc.filename is not None else command[0])
        record(started_at, proof, error=f"{what}: {exc.strerror}")
        return
    finally:
        set_oom_score(score_file, own_score)
    note_process(pid)
    watch = ScriptWatch(pid, float(grace), writing, terminal)
    watch.run()
    full = full_directory(b".", working_directory)
    if terminal is not None:
        terminal.finish()
    record(
        started_at,
        proof,
        status=watch.status,
        stopped=watch.stopped,
        swept=watch.swept,
        full=full,
    )


def read_instructions(
    data: bytes,
) -> tuple[bytes, bytes, bytes, bytes, list[bytes], dict[bytes, bytes], str] | None:
    """Read what to do (runs/launch.py writes it); None for nothing, or for a torn message."""
    fields = data.split(b"\0")
    if fields[-1] != END:
        return None
    proof = ""
    if fields[0] == WITH_SECRET:
        proof = fields[1].decode("ascii")
        fields = fields[2:]
    directory, working_directory, grace, wanted_input, number, *rest = fields[:-1]
    command, variables = rest[: int(number)], rest[int(number) :]
    pairs = (variable.partition(b"=") for variable in variables)
    environment = {name: value for name, _, value in pairs}
    return directory, working_directory, grace, wanted_input, command, environment, proof


def complain_here() -> None:
    """Send what the interpreter itself may have to say into the run directory."""
    descriptor = os.open("shim.err", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def load_terminal() -> type[Terminal]:
    """Load what only a script with a terminal needs."""
    from keruta_agent.agent.run.terminal import Terminal

    return Terminal


def open_input(wanted: bytes) -> tuple[int, int | None]:
    """Return what the script is to read, and an end to write into it.

    That is a pipe that answers can be written into, or nothing.
    """
    if wanted != FIFO:
        return os.open("/dev/null", os.O_RDONLY), None
    os.mkfifo("stdin", 0o600)
    both = os.open("stdin", os.O_RDWR)  # a single end could not be opened: it waits for the other
    reading = os.open("stdin", os.O_RDONLY)
    # Kept open: without a writing end the script would see the end of its input. It is no
    # reading end, so that a writer notices when the script has closed its own.
    writing = os.open("stdin", os.O_WRONLY)
    os.close(both)
    return reading, writing


def open_outputs() -> list[int]:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
    return [os.open("stdout", flags, 0o600), os.open("stderr", flags, 0o600)]


def open_oom_score() -> int | None:
    """Open what the kernel looks at when it must kill; later only root could."""
    try:
        return os.open(OOM_SCORE_FILE, os.O_RDWR | os.O_CLOEXEC)
    except OSError:  # a kernel without it chooses as it likes; a container may forbid it
        return None


def oom_score(file: int | None) -> int:
    return SCRIPT_OOM_SCORE if file is None else int(os.pread(file, 16, 0))


def set_oom_score(file: int | None, score: int) -> None:
    if file is None:
        return
    try:
        os.pwrite(file, b"%d" % score, 0)
    except OSError:  # a container may forbid it; the script runs all the same
        return


def start(command: list[bytes], working_directory: bytes, streams: list[int]) -> int:
    home = os.open(".", os.O_RDONLY)
    os.chdir(working_directory)
    try:
        return os.posix_spawnp(
            command[0],
            command,
            os.environb,
            file_actions=[
                (os.POSIX_SPAWN_DUP2, stream, number) for number, stream in enumerate(streams)
            ],
            setsid=True,
            setsigmask=(),
            setsigdef=PYTHONS,  # a script expects `yes | head` to end
        )
    finally:
        os.fchdir(home)
        os.close(streams[0])  # only the script and its own are to count as readers


if __name__ == "__main__":
    main()
