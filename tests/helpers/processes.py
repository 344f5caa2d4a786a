"""Start the installed ``keruta`` as real processes, and end every one of them."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from tests.helpers import forked
from tests.helpers.databases import url_of
from tests.helpers.forked import ForkedProcess
from tests.helpers.waiting import wait_until

KERUTA = str(Path(sys.executable).with_name("keruta"))
#: Seconds after which a command counts as hanging.
TIMEOUT_S = 60.0
#: Bytes that are read of what a command writes.
MOST_OUTPUT = 64 * 2**20
#: Variables that an interpreter looks at when it starts.
_OF_INTERPRETERS = re.compile("PYTHON|LC_|LANGUAGE$|TZ$|MALLOC_|LD_")


def start_keruta(
    arguments: Sequence[str],
    environment: Mapping[str, str],
    directory: Path,
    standard: tuple[IO[bytes], IO[bytes], IO[bytes]],
    *,
    forks: bool = True,
    program: str = KERUTA,
) -> subprocess.Popen[bytes] | ForkedProcess:
    """Start ``keruta`` with these standard streams.

    It is forked, and only ``/proc`` shows that, unless it shall not be, or there are variables
    that an interpreter reads as it starts.
    """
    command = [program, *arguments]
    if not forks or program != KERUTA or any(map(_OF_INTERPRETERS.match, environment)):
        stdin, stdout, stderr = standard
        return subprocess.Popen(
            command,
            env=dict(environment),
            cwd=directory,
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            start_new_session=True,
        )
    return forked.start(command, environment, directory, standard)


class Process:
    """One process with its output in files."""

    def __init__(
        self,
        arguments: Sequence[str],
        environment: Mapping[str, str],
        outputs: Path,
        *,
        forks: bool = True,
        program: str = KERUTA,
    ) -> None:
        outputs.mkdir(parents=True)
        #: The command line, without the program.
        self.name = " ".join(arguments)
        self._out = outputs / "stdout"
        self._err = outputs / "stderr"
        with (
            Path(os.devnull).open("rb") as nothing,
            self._out.open("wb") as out,
            self._err.open("wb") as err,
        ):
            self._popen = start_keruta(
                arguments,
                environment,
                Path.cwd(),
                (nothing, out, err),
                forks=forks,
                program=program,
            )

    @property
    def pid(self) -> int:
        """Number of the process."""
        return self._popen.pid

    @property
    def out(self) -> str:
        """What it wrote to standard output."""
        return self._out.read_text(encoding="utf-8")

    @property
    def err(self) -> str:
        """What it wrote to standard error."""
        return self._err.read_text(encoding="utf-8")

    @property
    def running(self) -> bool:
        """Whether it has yet to end."""
        return self._popen.poll() is None

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._popen.send_signal(number)

    def kill(self) -> None:
        """End it as ``kill -9`` does, and wait until it is gone."""
        self._popen.kill()
        self._popen.wait(TIMEOUT_S)

    def stop(self) -> int:
        """Ask it to end (SIGTERM) and return its exit code."""
        self._popen.terminate()
        return self.wait()

    def wait(self) -> int:
        """Wait for its end and return its exit code."""
        return self._popen.wait(TIMEOUT_S)

    def listening(self) -> str:
        """Wait until a server takes requests and return its address."""
        self.wait_for("listening on")
        found = re.search(r"listening on (http://\S+)", self.out)
        assert found is not None
        return found.group(1)

    def wait_for(self, text: str) -> None:
        """Wait until it has written a text to standard output or error."""

        def written() -> bool:
            if text in self.out or text in self.err:
                return True
            assert self.running, f"ended before it wrote {text!r}:\n{self.out}\n{self.err}"
            return False

        wait_until(written, f"{text!r} is written")


class Workplace:
    """One person's machine: a home, a base directory, and the processes that run there."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.base_dir = path / "base"
        self.environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "LANG": "C.UTF-8",
            "HOME": str(path / "home"),
            "KERUTA_BASE_DIR": str(self.base_dir),
            "KERUTA_ARTIFACTS_DIR": str(path / "artifacts"),
            "KERUTA_POLL_INTERVAL": "1s",  # the server's events announce what is new
            "KERUTA_AUTO_FIX_ENABLED": "false",
            "KERUTA_RETRY_COUNT": "0",
            "KERUTA_STOP_GRACE": "1s",
        }
        #: False for tests that look at /proc: each program gets an interpreter of its own.
        self.forks = True
        #: By commands: those that another version runs.
        self.programs: dict[str, str] = {}
        self._started: list[Process] = []
        (path / "home").mkdir()

    def start(self, *arguments: str, **environment: str) -> Process:
        """Start ``keruta`` with these arguments and, on top, these variables."""
        outputs = self.path / f"process-{len(self._started)}"
        process = Process(
            arguments,
            {**self.environment, **environment},
            outputs,
            forks=self.forks,
            program=self.programs.get(arguments[0], KERUTA),
        )
        self._started.append(process)
        return process

    def daemon(self, *arguments: str, **environment: str) -> Process:
        """Start a daemon and return when it is ready."""
        process = self.start("daemon", *arguments, **environment)
        process.wait_for("is ready")
        return process

    def server(
        self, port: int = 0, *arguments: str, name: str = "server", **environment: str
    ) -> tuple[Process, str]:
        """Start the embedded API and return it with its address when it is ready.

        ``name`` is that of its data directory, below the workplace.
        """
        data = self.path / name
        url = url_of(data)
        elsewhere = {} if url is None else {"KERUTA_SERVER_DATABASE_URL": url}
        process = self.start(
            *("server", "--port", str(port), "--data", str(data), *arguments),
            **elsewhere | environment,
        )
        return process, process.listening()

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run one ``keruta`` command to its end, in the workplace's own directory."""
        with (
            Path(os.devnull).open("rb") as nothing,
            tempfile.TemporaryFile() as out,
            tempfile.TemporaryFile() as err,
        ):
            process = start_keruta(
                arguments,
                {**self.environment, **environment},
                self.path,
                (nothing, out, err),
                forks=self.forks,
            )
            try:
                code = process.wait(TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(TIMEOUT_S)
                raise
            texts = [os.pread(file.fileno(), MOST_OUTPUT, 0).decode() for file in (out, err)]
        return subprocess.CompletedProcess(["keruta", *arguments], code, *texts)

    def write_script(self, name: str, text: str) -> Path:
        """Write an executable script."""
        script = self.path / name
        script.parent.mkdir(parents=True, exist_ok=True)
        script.write_text(text, encoding="utf-8")
        script.chmod(0o755)
        return script

    def run_directories(self) -> list[Path]:
        """Return the run directories, oldest first."""
        return sorted((self.base_dir / "runs").glob("*"))

    def run_processes(self) -> list[int]:
        """Return the living processes that belong to runs of this base directory."""
        marker = f"KERUTA_RUN_DIR={self.base_dir}/runs/".encode()
        # A zombie has no environment, so that nothing else needs to be read of all the others.
        return [pid for pid in _processes() if marker in _read(pid, "environ")]

    def end_everything(self) -> None:
        """End all that was started here, and what those left behind."""
        for process in self._started:
            if process.running:
                process.kill()
            # Shown by pytest when the test fails.
            print(f"--- {process.name}\n{process.out}{process.err}")
        wait_until(self._no_run_is_left, "no process of a run is left")

    def _no_run_is_left(self) -> bool:
        """End what is left of runs; each look at all processes costs."""
        left = self.run_processes()
        for pid in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not left


def free_port() -> int:
    """Return a port of the loopback that nobody listens on.

    A server that is to be started again on its port must be given one from the beginning: on
    port 0 it does not ask for SO_REUSEADDR, and the port stays blocked for a while.
    """
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@contextlib.contextmanager
def workplace_in(path: Path) -> Iterator[Workplace]:
    """Give a workplace for the length of the block."""
    workplace = Workplace(path)
    try:
        yield workplace
    finally:
        workplace.end_everything()


def is_alive(pid: int) -> bool:
    """Return whether a process lives; a zombie does not."""
    state = _read(pid, "stat").rpartition(b")")[2].split()
    return bool(state) and state[0] not in (b"Z", b"X")


def _processes() -> list[int]:
    return [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]


def _read(pid: int, name: str) -> bytes:
    try:
        with Path(f"/proc/{pid}/{name}").open("rb", buffering=0) as file:
            return file.read()
    except OSError:  # gone meanwhile
        return b""
