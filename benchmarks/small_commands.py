"""What ``keruta progress``, ``log`` and ``start`` cost a script, and how soon other commands start.

Installs a wheel into a fresh virtual environment (an editable installation costs each start more
than a command does) and compares with ``python -c pass`` of that environment, in turn.

python -m benchmarks.small_commands [--rounds 30]
"""

from __future__ import annotations

import argparse
import os
import shlex
import shutil
import statistics
import subprocess
import sys
import sysconfig
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import keruta_agent

#: Times of ``python -c pass`` that a command may take: inside a run, and any other.
INSIDE_A_RUN, ANY_OTHER = 1.8, 4.5

SMALL = (
    'progress 50 --message "half of it"',
    'log INFO "query is running"',
    'log ERROR "no answer" --field host=db1 --field tries=3',
    "start",
)
#: A start is what a command needs until it begins with its work: its help.
STARTS = (
    "version",
    "--help",
    *(f"{name} --help" for name in ("daemon", "execute", "queue", "logs", "explain", "config")),
)
#: Commands that work, for information: they load settings and read the database.
WORKING = ("queue list", "config show", "config path")

# Runs inside a run: what it measures is what a script of the agent would pay.
INSIDE = "import sys; sys.path.insert(0, {root!r}); from benchmarks import small_commands as s; "


def install(directory: Path) -> Path:
    """Build a wheel and installs it; dependencies come from this environment. Returns bin."""
    root = Path(keruta_agent.__file__).parents[1]
    pip = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    # From an exported tree: a build leaves its traces beside its sources.
    archive = subprocess.run(["git", "archive", "HEAD"], cwd=root, capture_output=True, check=True)
    sources = directory / "sources"
    sources.mkdir()
    subprocess.run(["tar", "x", "-C", sources], input=archive.stdout, check=True)
    wheels = directory / "wheels"
    subprocess.run([*pip, "wheel", "--no-deps", "-w", wheels, sources], check=True)
    home = directory / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", home], check=True)
    python = home / "bin" / "python"
    wheel = next(wheels.glob("*.whl"))
    subprocess.run([*pip, "--python", python, "install", "--no-deps", wheel], check=True)
    packages = next((home / "lib").glob("python*/site-packages"))
    # As a path alone: .pth files of that environment, such as an editable finder, are not read.
    libraries = {sysconfig.get_path("purelib"), str(Path(_click_location()).parents[1])}
    (packages / "libraries.pth").write_text("\n".join(sorted(libraries)) + "\n")
    return home / "bin"


def _click_location() -> str:
    import click

    return str(click.__file__)


class Cost(NamedTuple):
    """What one process took."""

    wall_s: float
    #: Processor time, which a busy machine changes less.
    cpu_s: float


def cost(command: list[str]) -> Cost:
    """Run a command and return what it took.

    Raises:
        RuntimeError: it failed.
    """
    begin = time.perf_counter()
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, status, usage = os.wait4(process.pid, 0)
    wall_s = time.perf_counter() - begin
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{shlex.join(command)} exited with {process.returncode}")
    return Cost(wall_s, usage.ru_utime + usage.ru_stime)


def measure_inside(binaries: Path, rounds: int) -> bool:
    """Measure the small commands by the ``keruta`` that scripts find first on their PATH."""
    return measure(binaries, SMALL, rounds, INSIDE_A_RUN, Path(shutil.which("keruta") or ""))


def measure(
    binaries: Path,
    commands: tuple[str, ...],
    rounds: int,
    most: float | None,
    keruta: Path | None = None,
) -> bool:
    """Print what each command takes; return whether all keep to the limit."""
    program = str(keruta or binaries / "keruta")
    floor = [str(binaries / "python"), "-c", "pass"]
    good = True
    for line in commands:
        command = [program, *shlex.split(line)]
        for _ in range(2):  # compiles, fills caches
            cost(command)
        pairs = [(cost(floor), cost(command)) for _ in range(rounds)]
        ratio = statistics.median(taken.wall_s / least.wall_s for least, taken in pairs)
        of_cpu = statistics.median(taken.cpu_s / least.cpu_s for least, taken in pairs)
        took_ms, least_ms = (
            statistics.median(each.wall_s for each in side) * 1000
            for side in zip(*((taken, least) for least, taken in pairs), strict=True)
        )
        verdict = "" if most is None else "ok" if ratio <= most else f"MORE THAN {most}"
        good = good and verdict in ("", "ok")
        print(
            f"{ratio:5.2f}x (cpu {of_cpu:.2f}x) {took_ms:6.1f} of {least_ms:.1f} ms"
            f"  keruta {line}  {verdict}",
            flush=True,
        )
    return good


def main() -> int:
    """Measure and print; return 1 when a limit was broken."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=30)
    rounds = parser.parse_args().rounds
    with tempfile.TemporaryDirectory(prefix="keruta-bench-") as name:
        directory = Path(name)
        binaries = install(directory)
        os.environ.update(HOME=name, KERUTA_BASE_DIR=str(directory / "base"))
        print("until the work begins:")
        good = measure(binaries, STARTS, rounds, ANY_OTHER)
        print("with its work:")
        measure(binaries, WORKING, rounds, None)
        print("inside a run:", flush=True)
        root = str(Path(__file__).parents[1])
        code = INSIDE.format(root=root) + (
            f"sys.exit(not s.measure_inside(s.Path({str(binaries)!r}), {rounds}))"
        )
        inside = subprocess.run(
            [binaries / "keruta", "execute", sys.executable, "-c", code], check=False
        )
    return 0 if good and inside.returncode == 0 else 1


if __name__ == "__main__":
    sys.exit(main())
