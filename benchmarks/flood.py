"""A script that prints 200 MB: the agent's memory, and what the capture costs the script.

The same script runs in turn under the agent and with its output in a file.

python -m benchmarks.flood [--megabytes 200] [--pairs 5]
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import time
from pathlib import Path

from benchmarks.agent import Measured, cpu_seconds, memory_mb, running_agent, wait_for

LINE = "0123456789 the quick brown fox jumps over it"


def script(megabytes: int, proof: Path) -> str:
    """Returns a script that prints much and notes how long it took."""
    return f"""#!/bin/bash
begin=$EPOCHREALTIME
yes '{LINE}' | head -c {megabytes}M
end=$EPOCHREALTIME
echo "$begin $end" > {proof}.new; mv {proof}.new {proof}
"""


def took(proof: Path) -> float:
    """Returns the seconds that a script noted."""
    begin, end = proof.read_text().split()
    return float(end) - float(begin)


def to_file(agent: Measured, megabytes: int, number: int) -> float:
    """Runs the script with its output in a file; returns its seconds."""
    proof = agent.directory / f"file-{number}"
    path = agent.directory / "flood.sh"
    path.write_text(script(megabytes, proof))
    with (agent.directory / "flood.out").open("wb") as out:
        subprocess.run(["/bin/bash", str(path)], stdout=out, check=True)
    return took(proof)


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--pairs", type=int, default=5)
    arguments = parser.parse_args()
    ratios = []
    with running_agent(with_server=True, KERUTA_RUNS_KEEP_SIZE="10GB") as agent:
        if agent.daemon is None:
            raise RuntimeError("no daemon")
        pid = agent.daemon.pid
        warm_up = agent.file_task("true")
        wait_for(lambda: agent.status(warm_up) == "COMPLETED")
        idle = memory_mb(pid)
        for number in range(arguments.pairs):
            plain = to_file(agent, arguments.megabytes, number)
            proof = agent.directory / f"agent-{number}"
            used = cpu_seconds(pid)
            begin = time.monotonic()
            task = agent.file_task(script(arguments.megabytes, proof))
            wait_for(proof.exists)
            ratios.append(took(proof) / plain)
            wait_for(lambda task=task: agent.status(task) == "COMPLETED", timeout_s=1800)
            delivered = time.monotonic() - begin
            lines = agent.log_count(task)
            print(
                f"pair {number + 1}: file {plain:.2f} s, agent {took(proof):.2f} s, "
                f"{lines} lines at the server after {delivered:.1f} s, "
                f"agent used {cpu_seconds(pid) - used:.1f} s of processor"
            )
        print(f"script under the agent / script > file: median {statistics.median(ratios):.3f}")
        print(f"memory: idle {idle:.1f} MB, peak {memory_mb(pid, 'VmHWM'):.1f} MB")


if __name__ == "__main__":
    main()
