"""Starts one script, looks after its processes, and records how it ended.

The shim is a program of its own, not a module of the agent: it outlives the daemon, so that a
script's end is known even when no daemon was there to see it. It is started as
``python -I -S shim.py`` and waits on its standard input for what to do, so that one can be
started ahead of its time: the start of an interpreter is most of what a script would wait for.
An end of the input without instructions ends it, so that none outlives its daemon unused.

It is a child sub-reaper (runs/launch.py), so that every process that the script leaves behind
becomes the shim's child, double fork and setsid or not. SIGTERM makes it stop them all: SIGTERM
to each, the grace period, SIGKILL. The same happens to what is left when the script has ended.
The file ``exit`` therefore means: nothing is left.

Nobody can write its record in its stead: it proves the record with a secret (exit_record.py) that
it is told on its standard input, and no other process of the same user can read its memory.

It imports next to nothing, not even pathlib: each millisecond here delays every task.
"""

from __future__ import annotations

import _signal as signal  # type: ignore[import-not-found]
import os
import sys
import time
from _json import encode_basestring_ascii as quoted
from errno import EDQUOT, ENOSPC

if __name__ == "__main__":  # -I and -S leave our package out of reach
    sys.path.append(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))))
from keruta_agent.process_tree.proc import descendants, process_line

TYPE_CHECKING = False  # typing's own takes time to import
if TYPE_CHECKING:
    from keruta_agent.runs.terminal import Terminal

KILL_INTERVAL_S = 0.05
#: Seconds between looks whether there is room on the disk again.
ROOM_INTERVAL_S = 0.5
#: What the kernel looks at when it must kill for want of memory, from -1000 to 1000.
OOM_SCORE_FILE = "/proc/self/oom_score_adj"
#: As if a script used half of the memory more than it does: it shall go before the agent, the
#: shim, and whatever else keeps the machine within reach.
SCRIPT_OOM_SCORE = 500
#: A disk with less room than this is full: what a script writes at once is seldom smaller.
ROOM_BYTES = 4096
#: Whoever answers the script has nothing more to say.
END_OF_INPUT = signal.SIGUSR1
#: Python ignores these two itself.
PYTHONS = (signal.SIGPIPE, signal.SIGXFSZ)
WATCHED = (signal.SIGCHLD, signal.SIGTERM, END_OF_INPUT)
#: What the script is to have as its standard input; anything else is an empty one.
FIFO = b"fifo"
TERMINAL = b"terminal"
#: First field of instructions that hold a secret. A daemon that was started before an upgrade
#: knows of none, and begins with the directory.
WITH_SECRET = b"with secret"
#: Last field of complete instructions.
END = b"end"
#: Why a file of ours may be something else: the script has put it there.
OURS_ONLY = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC


def main() -> None:
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
    set_oom_score(score_file, max(own_score, SCRIPT_OOM_SCORE))  # whom we start inherits it
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
    watch = Watch(pid, float(grace), writing, terminal)
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


def forget_inherited_signals() -> None:
    """Undo what a parent ignored or blocked; block what is waited for here.

    With SIGCHLD ignored the kernel would throw away how the script ends.
    """
    for number in signal.valid_signals():
        if signal.getsignal(number) == signal.SIG_IGN and number not in PYTHONS:
            signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, WATCHED)


def deny_inspection() -> None:
    """Keep processes of the same user out of this one's memory, where the secret will be."""
    from keruta_agent.process_tree import prctl

    prctl.deny_inspection()


def read_instructions(
    data: bytes,
) -> tuple[bytes, bytes, bytes, bytes, list[bytes], dict[bytes, bytes], str] | None:
    """Reads what to do (runs/launch.py writes it); None for nothing, or for a torn message."""
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
    """Sends what the interpreter itself may have to say into the run directory."""
    descriptor = os.open("shim.err", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
    os.dup2(descriptor, 2)
    os.close(descriptor)


def load_terminal() -> type[Terminal]:
    """Loads what only a script with a terminal needs."""
    from keruta_agent.runs.terminal import Terminal

    return Terminal


def claim_the_start() -> bool:
    """Creates the file ``identity``, or finds that the script must not start any more."""
    temporary = f"identity.{os.getpid()}"
    with open(temporary, "w", encoding="ascii", opener=private) as file:
        file.write(process_line(os.getpid()))
        file.flush()
        os.fsync(file.fileno())
    try:
        os.link(temporary, "identity")
    except FileExistsError:
        return False
    finally:
        os.unlink(temporary)
    return True


def private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def open_input(wanted: bytes) -> tuple[int, int | None]:
    """Returns what the script is to read, and an end to write into it.

    That is a pipe that answers can be written into, or nothing.
    """
    if wanted != FIFO:
        return os.open("/dev/null", os.O_RDONLY), None
    os.mkfifo("stdin", 0o600)
    both = os.open("stdin", os.O_RDWR)  # a single end could not be opened: it waits for the other
    reading = os.open("stdin", os.O_RDONLY)
    # Kept open: without a writing end the script would see the end of its input. It is no
    # reading end, so that a writer is told when the script has closed its own.
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


class Watch:
    """Waits for the script and everything that it started."""

    def __init__(
        self, pid: int, grace_s: float, writing: int | None, terminal: Terminal | None
    ) -> None:
        self.pid = pid
        self.grace_s = grace_s
        #: What keeps the script from seeing the end of its input; None when nothing does.
        self.writing = writing
        self.terminal = terminal
        #: Wait status of the script, None while it runs.
        self.status: int | None = None
        self.stopped = False
        self.swept = 0
        #: Monotonic time from which on SIGKILL is used, None while nothing is being stopped.
        self.deadline: float | None = None

    def run(self) -> None:
        while self.reap():
            if self.status is not None and self.deadline is None:
                self.swept = self.stop()
            if self.deadline is not None and time.monotonic() >= self.deadline:
                self.signal_all(signal.SIGKILL)
            received = signal.sigtimedwait(WATCHED, self.patience())
            if received is not None and received.si_signo == END_OF_INPUT:
                self.end_input()
            if received is not None and received.si_signo == signal.SIGTERM and not self.stopped:
                self.reap()  # a script that ended just before was not stopped
                self.stopped = self.status is None
                self.stop()

    def end_input(self) -> None:
        """Lets the script see the end of its input, when it has read what is there."""
        if self.writing is not None:
            os.close(self.writing)
            self.writing = None
        if self.terminal is not None:
            self.terminal.press_end()

    def patience(self) -> float:
        """Seconds until something must be done even when no signal comes."""
        if self.deadline is None:
            return 3600.0
        return max(self.deadline - time.monotonic(), KILL_INTERVAL_S)

    def stop(self) -> int:
        if self.deadline is None:
            self.deadline = time.monotonic() + self.grace_s
        return self.signal_all(signal.SIGTERM)

    def reap(self) -> bool:
        """Collects the children that have ended; tells whether any is left."""
        while True:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return False
            if pid == 0:
                return True
            if pid == self.pid:
                self.status = status

    def signal_all(self, number: int) -> int:
        """Sends a signal to every process below this one; returns how many there are."""
        below = descendants(os.getpid())
        if below:
            self.note(number, below)
        for pid in below:
            try:
                os.kill(pid, number)
                if number == signal.SIGTERM:
                    os.kill(pid, signal.SIGCONT)  # a stopped process would never see it
            except (ProcessLookupError, PermissionError):
                continue
        return len(below)

    def note(self, number: int, pids: list[int]) -> None:
        """Notes who is sent a signal."""
        note_signal(number, pids)


def note_process(pid: int) -> None:
    """Notes which process the script is."""
    try:
        write_atomically("process", process_line(pid))
    except OSError:  # a full disk must not leave the script alone
        return


def note_signal(number: int, pids: list[int]) -> None:
    """Notes who was sent which signal, for whoever asks why a process ended."""
    text = ",".join(map(str, pids))
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | OURS_ONLY
        descriptor = os.open("signals", flags, 0o600)
        try:
            os.write(descriptor, f"{time.time()!r} {int(number)} {text}\n".encode("ascii"))
        finally:
            os.close(descriptor)
    except OSError:  # neither a full disk nor the script must keep anything from being stopped
        return


def full_directory(*directories: bytes) -> str | None:
    """Returns the first directory on a disk without room for a file, or for more of one."""
    for directory in directories:
        try:
            disk = os.statvfs(directory)
        except OSError:  # the script removed it
            continue
        free = disk.f_bavail if os.geteuid() else disk.f_bfree
        # Some file systems do not count their files.
        if free * disk.f_frsize < ROOM_BYTES or (disk.f_files and not disk.f_ffree):
            return os.path.abspath(os.fsdecode(directory))
    return None


def record(
    started_at: float,
    proof: str,
    *,
    status: int | None = None,
    error: str | None = None,
    stopped: bool = False,
    swept: int = 0,
    full: str | None = None,
) -> None:
    """Writes the exit record: the last thing that happens to a run."""
    import resource  # here, because the script need not wait for it

    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    code = number = "null"
    if status is not None and os.WIFSIGNALED(status):
        number = str(os.WTERMSIG(status))
    elif status is not None:
        code = str(os.WEXITSTATUS(status))
    text = (
        f'{{"exit_code": {code}, "signal": {number}, '
        f'"error": {"null" if error is None else quoted(error)}, '
        f'"stopped": {"true" if stopped else "false"}, "swept": {swept}, '
        f'"full": {"null" if full is None else quoted(full)}, '
        f'"started_at": {started_at!r}, "ended_at": {time.time()!r}, '
        f'"user_s": {used.ru_utime!r}, "system_s": {used.ru_stime!r}, '
        f'"max_rss_kb": {used.ru_maxrss}, '
        f'"blocks_in": {used.ru_inblock}, "blocks_out": {used.ru_oublock}, '
        f'"proof": "{proof}"}}\n'
    )
    while True:
        try:
            write_atomically("exit", text)
            return
        except OSError as exc:
            if exc.errno not in (ENOSPC, EDQUOT):
                raise
            time.sleep(ROOM_INTERVAL_S)  # without the record the end would be taken for lost


def write_atomically(name: str, text: str) -> None:
    """Put a file of ours in the place of whatever the script may have made there.

    Raises:
        OSError: it cannot be written.
    """
    temporary = f"{name}.{os.getpid()}"
    if os.path.lexists(temporary):
        os.unlink(temporary)  # a FIFO in its place would be waited for
    with open(temporary, "w", encoding="ascii", opener=fresh) as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.rename(temporary, name)
    home = os.open(".", os.O_RDONLY)
    os.fsync(home)
    os.close(home)


def fresh(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_EXCL | OURS_ONLY, 0o600)


if __name__ == "__main__":
    main()
