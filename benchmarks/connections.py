"""What many short connections to the daemon's socket leave behind: nothing, however many they are.

python -m benchmarks.connections [--number 10000]

Every tenth hands a job in, the others ask for the status, as a script's `keruta progress` and a
person's commands do.
"""

from __future__ import annotations

import argparse
import subprocess
import time
from pathlib import Path

from benchmarks.agent import KERUTA, Measured, cpu_seconds, memory_mb, running_agent
from keruta_agent.agent.control.socket import client

#: What is settled before the first look: caches, the allocator's arenas.
WARM_UP = 500
HAND_IN_EACH = 10
#: What may differ between the first look and the last.
SPARE_DESCRIPTORS = 10
SPARE_THREADS = 2
SPARE_MB = 8.0


def main() -> None:
    """Measure and print.

    Raises:
        SystemExit: something grew.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--number", type=int, default=10_000)
    number = parser.parse_args().number
    with running_agent(with_server=False) as agent:
        # Jobs would run otherwise, and be what is measured.
        subprocess.run([*KERUTA, "queue", "pause"], env=agent.environment, check=True)
        _connect(agent, WARM_UP)
        before = _look(agent)
        began, used = time.monotonic(), cpu_seconds(_pid(agent))
        _connect(agent, number)
        seconds, used = time.monotonic() - began, cpu_seconds(_pid(agent)) - used
        after = _look(agent)
    print(f"{number} connections in {seconds:.1f} s, {used / number * 1000:.2f} ms of CPU each")
    print(f"before: {before[0]} descriptors, {before[1]} threads, {before[2]:.1f} MB")
    print(f"after:  {after[0]} descriptors, {after[1]} threads, {after[2]:.1f} MB")
    spare = (SPARE_DESCRIPTORS, SPARE_THREADS, SPARE_MB)
    if any(a > b + more for a, b, more in zip(after, before, spare, strict=True)):
        raise SystemExit("something grew")


def _connect(agent: Measured, number: int) -> None:
    for each in range(number):
        if each % HAND_IN_EACH:
            client.call(agent.base_dir, {"op": "status"})
        else:
            work = {"script": "true"}
            client.call(agent.base_dir, {"op": "submit", "name": "x", "work": work})


def _look(agent: Measured) -> tuple[int, int, float]:
    time.sleep(1)  # the last threads end
    process = Path(f"/proc/{_pid(agent)}")
    descriptors = len(list((process / "fd").iterdir()))
    threads = len(list((process / "task").iterdir()))
    return descriptors, threads, memory_mb(_pid(agent))


def _pid(agent: Measured) -> int:
    if agent.daemon is None:
        raise RuntimeError("no daemon")
    return agent.daemon.pid


if __name__ == "__main__":
    main()
