"""How soon a wait for input is seen, how often a silent script is mistaken, what a look costs.

python -m benchmarks.waiting [--silent 20]
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from keruta_agent.agent.run.directory import MARKER_VARIABLE, ProcessId, RunDirectory
from keruta_agent.agent.run.input.waiting import LOOK_INTERVAL_S, InputDetector
from keruta_agent.agent.run.launch import Launcher, LaunchPlan, Stdin
from keruta_agent.agent.run.processes import sweep
from tests.helpers.interactive import (
    AT_A_TERMINAL,
    SILENT,
    SILENT_AT_A_TERMINAL,
    WAITING,
    Script,
    perl,
)

UID = f"waiting-benchmark-{os.getpid()}"
#: Seconds between looks of the witness that notes when a script begins to wait.
WITNESS_S = 0.005
#: Seconds after which a wait counts as missed.
PATIENCE_S = 15.0


class Bench:
    """Starts scripts in a directory of their own."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._launcher = Launcher()
        self._count = 0

    def start(self, script: Script, stdin: Stdin) -> tuple[RunDirectory, ProcessId]:
        """Start one script."""
        self._count += 1
        place = self._directory / f"place-{self._count}"
        place.mkdir()
        directory = RunDirectory(self._directory / f"run-{self._count}")
        directory.create()
        plan = LaunchPlan(
            directory=directory,
            command=["bash", str(directory.write_script(script.text))],
            working_directory=place,
            environment={
                "PATH": os.environ["PATH"],
                "PYTHONUNBUFFERED": "1",
                "KERUTA_PLACE": str(place),
                MARKER_VARIABLE: UID,
            },
            grace_s=1,
            stdin=stdin,
        )
        return directory, self._launcher.start(plan, lambda commitment: None)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--silent", type=float, default=20, help="seconds to watch silent ones")
    arguments = parser.parse_args()
    # Ended early, it must not leave its scripts behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="keruta-waiting-") as name:
        try:
            bench = Bench(Path(name))
            cost(bench)
            waits(bench, "fifo", WAITING)
            waits(bench, "terminal", AT_A_TERMINAL)
            alarms(bench, arguments.silent)
        finally:
            sweep(UID, 0)


def waits(bench: Bench, stdin: Stdin, scripts: Mapping[str, Script]) -> None:
    """Print how long after its beginning each wait is seen."""
    latencies = {}
    for name, script in scripts.items():
        if script.is_installed:
            latencies[name] = latency(*bench.start(script, stdin))
            sweep(UID, 0)
    for name, seconds in latencies.items():
        print(f"{stdin:9} {name:35} {seconds * 1000:6.0f} ms")
    print(
        f"{stdin}: {len(latencies)} programs, median "
        f"{statistics.median(latencies.values()) * 1000:.0f} ms, "
        f"max {max(latencies.values()) * 1000:.0f} ms"
    )


def latency(directory: RunDirectory, shim: ProcessId) -> float:
    """Return the seconds from the first sight of a blocked reader until the wait is told.

    The detector looks at its own pace, from a random instant on; the witness all the time.
    """
    detector, witness = InputDetector(directory, shim), InputDetector(directory, shim)
    due = time.monotonic() + random.uniform(0, LOOK_INTERVAL_S)
    begin = time.monotonic()
    since: float | None = None
    while time.monotonic() < begin + PATIENCE_S:
        witness.look()
        if not witness.suspects:
            since = None
        elif since is None:
            since = time.monotonic()
        if time.monotonic() >= due:
            if detector.look() is not None:
                return time.monotonic() - (since or begin)
            due = time.monotonic() + detector.interval_s
        time.sleep(WITNESS_S)
    return float("inf")


def alarms(bench: Bench, seconds: float) -> None:
    """Print which silent scripts are taken for waiting."""
    detectors = {}
    for stdin, scripts in (("fifo", SILENT), ("terminal", SILENT_AT_A_TERMINAL)):
        for name, script in scripts.items():
            if script.is_installed:
                run = bench.start(script, stdin)
                detectors[name] = InputDetector(*run)
    time.sleep(3)
    looks = 0
    found: dict[str, str] = {}
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        for name, detector in detectors.items():
            looks += 1
            if (waiting := detector.look()) is not None:
                found[name] = waiting.prompt
        time.sleep(0.15)
    sweep(UID, 0)
    print(f"{len(detectors)} silent programs, {looks} looks, false alarms: {found or 'none'}")


def cost(bench: Bench) -> None:
    """Print what one look costs."""
    many = Script("for i in $(seq 30); do sleep 300 & done; wait")
    for name, script in (
        ("one sleeping program", Script("exec sleep 300")),
        ("31 processes", many),
        ("waiting program", Script("read x")),
        ("busy loop", Script(perl("1 while 1"))),
    ):
        detector = InputDetector(*bench.start(script, "fifo"))
        time.sleep(1)
        detector.look()
        begin = time.process_time()
        for _ in range(200):
            detector.look()
        used = (time.process_time() - begin) / 200
        print(
            f"one look at {name}: {used * 1e6:.0f} us, "
            f"{used / LOOK_INTERVAL_S * 100:.3f} % of a core"
        )
        sweep(UID, 0)
    processes = sum(entry.name.isdigit() for entry in Path("/proc").iterdir())
    print(f"with {processes} processes on this machine")


if __name__ == "__main__":
    main()
