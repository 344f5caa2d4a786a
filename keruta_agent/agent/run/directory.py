"""The run directory: everything about one run, for every process that reads it.

========== ==================================================================================
script     what is executed, when the job brought a text
identity   who started the script: pid, start time and boot id of the shim; created once, by the
           shim before it starts the script, or by a daemon that wants it never to start
process    pid and start time of the script itself
stdin      a FIFO: what a person answers to the script; missing when its input is empty
terminal   name of the script's terminal; missing when it has none
stdout     what the script wrote, byte by byte; with a terminal, all of it
stderr     the same for its second stream
agent      one JSON object a line: the script's messages to the agent (log, progress, its end)
exit       how the script ended, written last and atomically, when no process of the run is left
signals    which signals the shim sent to which processes
secrets    what the script itself wants masked, one JSON text a line
added      copies of the files that the script added as artifacts while it ran
artifacts  copies of those that it left in the artifacts directory
about      which job and task this is a run of, for an agent whose records do not know it
shim.err   what the shim itself had to say; empty unless something is badly wrong
========== ==================================================================================
"""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Final, Self

from keruta_agent.agent.run import exit_record
from keruta_agent.agent.run.exit_record import ExitRecord
from keruta_agent.agent.run.files import (
    SMALL_BYTES,
    from_json,
    open_regular,
    read_small,
    write_private,
)
from keruta_agent.agent.run.input import stdin
from keruta_agent.core import errors
from keruta_agent.core.boot_clock import boot_id
from keruta_agent.core.process_tree.proc import process_state as process_state

RUNS_DIRECTORY: Final = "runs"
#: Stands in ``identity`` when a script must not be started.
PREVENTED: Final = "prevented\n"
#: In a run directory: the copies of what the script added as artifacts while it ran.
ADDED: Final = "added"
#: Characters of one secret that a script names; a key file has some thousand.
LARGEST_SECRET: Final = 16 * 1024
CLOCK_TICKS_A_SECOND: Final = os.sysconf("SC_CLK_TCK")
#: Beyond what a database stores as a number, and what a calendar has as a time.
MOST_NUMBER: Final = 2**63
MOST_SECONDS: Final = 253_402_300_800  # the year 10000
#: Beyond what any kernel gives (PID_MAX_LIMIT), and any machine lives to see.
MOST_PIDS: Final = 2**22 + 1
MOST_TICKS: Final = 2**53
#: In the environment of every process of a run: how to find them again.
MARKER_VARIABLE: Final = "KERUTA_RUN_UID"


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProcessId:
    """A process that cannot be mistaken for a later one with the same number."""

    pid: int
    #: Field 22 of /proc/<pid>/stat: clock ticks since boot.
    start_time: int
    boot_id: str

    @classmethod
    def parse(cls, line: str) -> Self:
        """Read a process as ``line`` writes it.

        Raises:
            ValueError: it is not such a line.
        """
        pid, start_time, boot = line.split()
        if not 0 < int(pid) < MOST_PIDS or not 0 <= int(start_time) < MOST_TICKS:
            raise ValueError("no process can have these numbers")
        return cls(pid=int(pid), start_time=int(start_time), boot_id=boot)

    @property
    def line(self) -> str:
        """The process in words: ``pid start-time boot-id``."""
        return f"{self.pid} {self.start_time} {self.boot_id}"

    @property
    def started_at(self) -> float:
        """Seconds since boot at which it was started."""
        return self.start_time / CLOCK_TICKS_A_SECOND

    def is_alive(self) -> bool:
        """Return whether this very process runs; a zombie has ended."""
        if self.boot_id != boot_id():
            return False
        found = process_state(self.pid)
        return found is not None and found[1] == self.start_time and found[0] not in "ZX"


@dataclasses.dataclass(frozen=True, kw_only=True)
class About:
    """Which job and task a run belongs to."""

    uid: str
    number: int
    job_id: int
    filed_at: float
    task_id: str | None
    session_id: str
    name: str
    priority: int

    @classmethod
    def from_json(cls, values: object) -> Self:
        """Read what ``write_about`` wrote.

        Raises:
            ValueError: it is invalid; the script may have written it.
            TypeError: the same.
        """
        if not isinstance(values, dict):
            raise TypeError("it is not an object")
        about = cls(**values)
        texts = (about.uid, about.session_id, about.name, about.task_id or "")
        numbers = (about.number, about.job_id, about.priority)
        if not all(isinstance(text, str) and text.isprintable() for text in texts):
            raise ValueError("a text is none")
        if not all(type(number) is int and abs(number) < MOST_NUMBER for number in numbers):
            raise ValueError("a number is none")
        if type(about.filed_at) not in (int, float) or not 0 <= about.filed_at < MOST_SECONDS:
            raise ValueError("it was filed at no time")
        return about


class RunDirectory:
    """One run directory."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.script = path / "script"
        self.identity = path / "identity"
        self.process = path / "process"
        self.stdin = path / "stdin"
        self.terminal = path / "terminal"
        self.exit = path / "exit"
        self.agent = path / "agent"
        self.about = path / "about"

    def create(self) -> None:
        """Create the directory with its empty streams.

        Raises:
            RunError: it cannot be created.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            for stream in ("stdout", "stderr", "agent"):
                os.close(os.open(self.path / stream, os.O_WRONLY | os.O_CREAT, 0o600))
        except OSError as exc:
            raise errors.RunError(
                f"cannot create the run directory {self.path}: {exc.strerror}"
            ) from exc

    def head(self, stream: str, size: int) -> bytes:
        """Return the first bytes of a stream; zeros where the file is shorter than that.

        Raises:
            RunError: it cannot be read.
        """
        try:
            with os.fdopen(open_regular(self.path / stream), "rb") as file:
                return file.read(size).ljust(size, b"\0")
        except OSError as exc:
            raise errors.RunError(f"cannot read {self.path / stream}: {exc.strerror}") from exc

    def write_about(self, about: About) -> None:
        """Note which job and task this is a run of.

        Raises:
            RunError: it cannot be stored.
        """
        try:
            write_private(self.about, json.dumps(dataclasses.asdict(about)))
        except OSError as exc:
            raise errors.RunError(f"cannot write {self.about}: {exc.strerror}") from exc

    def read_about(self) -> About | None:
        """Return the job and task of this run, None when they were not recorded."""
        try:
            return About.from_json(from_json(read_small(self.about) or ""))
        except (ValueError, TypeError):
            return None

    def note_script_begins(self) -> None:
        """Note that what follows in the output is the script's, and not a hook's before it.

        Raises:
            RunError: it cannot be stored.
        """
        try:
            size = (self.path / "stdout").stat().st_size
            write_private(self.path / "script-begins", str(size))
        except OSError as exc:
            raise errors.RunError(f"cannot write in {self.path}: {exc.strerror}") from exc

    def script_begins(self) -> int:
        """Return the byte of the output where what the script wrote begins."""
        text = (read_small(self.path / "script-begins") or "").strip()
        return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0

    def write_script(self, text: str) -> Path:
        """Store the script so that it can be executed.

        Raises:
            RunError: it cannot be stored.
        """
        try:
            descriptor = os.open(self.script, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o700)
            with os.fdopen(descriptor, "wb") as file:
                file.write(text.encode("utf-8", "surrogateescape"))
        except (OSError, UnicodeEncodeError) as exc:
            raise errors.RunError(f"cannot store the script in {self.script}: {exc}") from exc
        return self.script

    def read_identity(self) -> ProcessId | None:
        """Return the shim that started the script, None when none has (or ever will)."""
        return _read_process(self.identity)

    def read_process(self) -> ProcessId | None:
        """Return the script's own process, None when it was not started."""
        return _read_process(self.process)

    def prevent_start(self) -> bool:
        """Make sure that the script is never started from this directory.

        Returns False when it was started already: the file ``identity`` goes to whoever creates
        it first, the shim or us.
        """
        try:
            descriptor = os.open(self.identity, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            return False
        except FileNotFoundError:  # the directory was never made, so nothing can start in it
            return True
        os.write(descriptor, PREVENTED.encode("ascii"))
        os.close(descriptor)
        return True

    def was_prevented(self) -> bool:
        """Return whether the start was forbidden, as far as the directory shows."""
        return PREVENTED.startswith(read_small(self.identity) or "")  # it may be half written

    def answer(self, text: str) -> None:
        """Give the script a line to read, ended by a line end; never waits for it to be read.

        A terminal gets it as keys: Enter ends it, unless a control character such as Ctrl-C does.

        Raises:
            InputRefused: nobody reads it, the script has yet to read the answer before, or
                the text is too long.
        """
        stdin.write_line(self.stdin, text, as_keys=self.terminal.exists())

    def feed(self, data: bytes) -> bool:
        """Give the script more to read, as it is, if there is room; return whether there was.

        Raises:
            InputRefused: nobody reads it.
        """
        if self.terminal.exists():
            data = data.replace(b"\n", b"\r")  # what Enter sends
        return stdin.write_some(self.stdin, data)

    def add_secret(self, secret: str) -> None:
        """Store a secret that the script named: nothing that leaves the run may show it.

        Raises:
            UsageError: there are too many, or it is too large.
        """
        size = len(read_small(self.path / "secrets") or "")
        if len(secret) > LARGEST_SECRET or size + len(secret) > SMALL_BYTES // 2:
            raise errors.UsageError(
                f"the secret is too large, or there are too many: one may hold {LARGEST_SECRET} "
                f"characters, all of a run {SMALL_BYTES // 2}"
            )
        descriptor = os.open(
            self.path / "secrets",
            os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW,
            0o600,
        )
        try:
            os.write(descriptor, json.dumps(secret).encode() + b"\n")
        finally:
            os.close(descriptor)

    def read_secrets(self) -> list[str]:
        """Return the secrets that the script named."""
        secrets = []
        for line in (read_small(self.path / "secrets") or "").splitlines():
            try:
                secrets.append(str(from_json(line)))
            except ValueError:  # half a line, or the script wrote it itself
                continue
        return secrets

    def read_signals(self) -> list[tuple[float, int, str]]:
        """Return the signals that the shim sent: Unix time, number, and process numbers."""
        notes = []
        for line in (read_small(self.path / "signals") or "").splitlines():
            try:
                at, number, pids = line.split(" ")
                notes.append((float(at), int(number), pids))
            except ValueError:
                continue
        return notes

    def read_exit(self) -> ExitRecord | None:
        """Return how the script ended by its record, None when there is none that is valid.

        Anybody can have written it: see ``ExitRecord.is_proved``.
        """
        text = read_small(self.exit)
        return None if text is None else exit_record.parse(text)


def _read_process(path: Path) -> ProcessId | None:
    try:
        return ProcessId.parse(read_small(path) or "")
    except ValueError:
        return None
