"""A script that prints 200 MB: the agent's memory, and what the capture costs the script.

The same script runs under the agent and with its output in a file, in turn, each first every
other time. Every run writes a new file, as the agent must: one that replaces an old file finds its
pages ready. What earlier runs left for the disk is written before each, or the kernel would hold
up whoever comes later.

python -m benchmarks.flood [--megabytes 200] [--pairs 10] [--deliveries 1]
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import subprocess
import time
from pathlib import Path

from benchmarks.agent import Measured, running_agent, wait_for

LINE = "0123456789 the quick brown fox jumps over it"


def script(megabytes: int, proof: Path) -> str:
    """Return a script that prints much and notes how long it took."""
    return f"""#!/bin/bash
begin=$EPOCHREALTIME
yes '{LINE}' | head -c {megabytes}M
end=$EPOCHREALTIME
echo "$begin $end" > {proof}.new; mv {proof}.new {proof}
"""


def took(proof: Path) -> float:
    """Return the seconds that a script noted."""
    begin, end = proof.read_text().split()
    return float(end) - float(begin)


def to_file(agent: Measured, megabytes: int) -> float:
    """Run the script with its output in a file; return its seconds."""
    proof = agent.directory / "file-proof"
    path = agent.directory / "flood.sh"
    path.write_text(script(megabytes, proof))
    os.sync()
    with (agent.directory / "flood.out").open("wb") as out:
        subprocess.run(["/bin/bash", str(path)], stdout=out, check=True)
    return took(proof)


def to_agent(agent: Measured, megabytes: int) -> tuple[str, float]:
    """Run the script as a task; return the task and the script's seconds."""
    proof = agent.directory / "agent-proof"
    os.sync()
    task = agent.file_task(script(megabytes, proof))
    wait_for(proof.exists)
    return task, took(proof)


def measure_pair(megabytes: int, number: int) -> float:
    """Return by how much the script took longer under a new agent than into a file."""
    with running_agent(with_server=True) as agent:
        warm_up(agent)
        if number % 2:
            captured = to_agent(agent, megabytes)[1]
            plain = to_file(agent, megabytes)
        else:
            plain = to_file(agent, megabytes)
            captured = to_agent(agent, megabytes)[1]
        agent.kill_daemon()  # nobody waits here for the delivery
    print(f"pair {number + 1}: file {plain:.2f} s, agent {captured:.2f} s", flush=True)
    return captured / plain


def measure_delivery(megabytes: int) -> None:
    """Print what the agent used until all lines were at the server."""
    with running_agent(with_server=True) as agent:
        warm_up(agent)
        idle, used, begin = agent.memory_mb(), agent.cpu_seconds(), time.monotonic()
        task, _ = to_agent(agent, megabytes)
        wait_for(lambda: agent.status(task) == "COMPLETED", timeout_s=1800)
        print(
            f"{agent.log_count(task)} lines at the server after {time.monotonic() - begin:.1f} s; "
            f"the agent used {agent.cpu_seconds() - used:.1f} s of processor; "
            f"memory: idle {idle:.1f} MB, peak {agent.memory_mb('VmHWM'):.1f} MB"
        )


def warm_up(agent: Measured) -> None:
    """Lets the agent do everything once."""
    task = agent.file_task("true")
    wait_for(lambda: agent.status(task) == "COMPLETED")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--pairs", type=int, default=10)
    parser.add_argument("--deliveries", type=int, default=1)
    arguments = parser.parse_args()
    ratios = [measure_pair(arguments.megabytes, number) for number in range(arguments.pairs)]
    # The second of two is slower, whichever it is; a pair in each order cancels that.
    balanced = [
        math.sqrt(one * other) for one, other in zip(ratios[::2], ratios[1::2], strict=False)
    ]
    if balanced:
        print(f"script under the agent / script > file: median {statistics.median(balanced):.3f}")
    for _ in range(arguments.deliveries):
        measure_delivery(arguments.megabytes)


if __name__ == "__main__":
    main()
