"""The keruta that is measured: a real ``keruta server``, what it uses, and who else is at work."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.agent import TICKS_A_SECOND, cpu_seconds, memory_mb
from benchmarks.server_load.agent_requests import Requests

_STOP_TIMEOUT_S = 60
#: Some tens of milliseconds.
_CALIBRATION_ROUNDS = 3000


@dataclasses.dataclass(frozen=True)
class Subject:
    """One installed keruta."""

    #: Names its column.
    label: str
    program: Path

    @property
    def revision(self) -> str:
        """Return the commit of the checkout that it is installed from; empty if there is none."""
        git = ["git", "-C", str(self.program.parent), "describe", "--always", "--dirty"]
        return subprocess.run(git, capture_output=True, text=True, check=False).stdout.strip()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Running:
    """A server at work."""

    pid: int
    requests: Requests
    #: Seconds from starting the program until it said that it listens.
    listening_s: float
    #: When it was started, by ``perf_counter``.
    started_at: float


@contextlib.contextmanager
def running_server(
    subject: Subject,
    directory: Path,
    *,
    token: str | None = None,
    database_url: str | None = None,
) -> Iterator[Running]:
    """Run a server on a free port for the length of the block.

    Raises:
        RuntimeError: it ended instead of listening.
    """
    environment = {"PATH": os.environ["PATH"], "HOME": str(directory)}
    environment["KERUTA_BASE_DIR"] = str(directory / "base")
    if token is not None:
        environment["KERUTA_SERVER_TOKEN"] = token
    if database_url is not None:
        environment["KERUTA_SERVER_DATABASE_URL"] = database_url
    command = [str(subject.program), "server", "--port", "0", "--data", str(directory / "server")]
    errors = directory / "server.err"
    with errors.open("w") as to_errors:
        started_at = time.perf_counter()
        process = subprocess.Popen(
            # Elsewhere than in a checkout, whose modules would be found before the installed ones.
            command,
            cwd=directory,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=to_errors,
            text=True,
        )
    assert process.stdout is not None
    with process, contextlib.ExitStack() as stack:
        stack.callback(_stop, process)
        for line in process.stdout:
            if line.startswith("listening on "):
                break
        else:
            raise RuntimeError(f"{subject.program} does not listen: {errors.read_text()}")
        listening_s = time.perf_counter() - started_at
        url = urlsplit(line.split()[-1])
        requests = Requests(host=str(url.hostname), port=int(url.port or 0), token=token)
        yield Running(
            pid=process.pid, requests=requests, listening_s=listening_s, started_at=started_at
        )


def _stop(process: subprocess.Popen[str]) -> None:
    process.terminate()
    try:
        process.wait(_STOP_TIMEOUT_S)
    except subprocess.TimeoutExpired:
        process.kill()
        raise


def calibration() -> dict[str, float]:
    """Return what a fixed computation takes here and now: how fast this machine is, and how busy.

    Processor time too is longer where others empty the caches, by half and more.
    """
    value = {"numbers": list(range(50)), "text": "x" * 100}
    begin, begin_cpu = time.perf_counter(), time.process_time()
    for _ in range(_CALIBRATION_ROUNDS):
        json.loads(json.dumps(value))
    cpu_s, wall_s = time.process_time() - begin_cpu, time.perf_counter() - begin
    return {"calibration CPU ms": cpu_s * 1000, "calibration wall ms": wall_s * 1000}


class Meter:
    """What the server, the generator and everybody else use of the processors from now on."""

    def __init__(self, server: Running) -> None:
        self._pid = server.pid
        self._begin = self._look()

    def figures(self) -> dict[str, float]:
        """Return the shares of one core since the beginning, and the server's memory."""
        begin, end = self._begin, self._look()
        seconds, server, generator, busy = (
            now - then for then, now in zip(begin, end, strict=True)
        )
        return {
            "server CPU %": 100 * server / seconds,
            "server RSS MB": memory_mb(self._pid),
            "server peak RSS MB": memory_mb(self._pid, "VmHWM"),
            "generator CPU %": 100 * generator / seconds,
            # Noise: what is measured while others work is worth less.
            "others' CPU %": 100 * max(0.0, busy - server - generator) / seconds,
        }

    def server_seconds(self) -> float:
        """Return the processor time of the server since the beginning."""
        return cpu_seconds(self._pid) - self._begin[1]

    def _look(self) -> tuple[float, float, float, float]:
        return time.monotonic(), cpu_seconds(self._pid), time.process_time(), _busy_seconds()


def _busy_seconds() -> float:
    """Return the time that all processors together have worked."""
    fields = Path("/proc/stat").read_text().partition("\n")[0].split()[1:]
    user, nice, system, _, _, irq, softirq = (int(field) for field in fields[:7])
    return (user + nice + system + irq + softirq) / TICKS_A_SECOND
