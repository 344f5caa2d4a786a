"""How long an idle daemon takes from the socket request to the script's first instruction.

python -m benchmarks.start_latency [--runs 40] [--idle 120]
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import time
from pathlib import Path

from benchmarks.agent import note_start, running_agent, wait_for


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=40)
    parser.add_argument("--idle", type=float, default=120, help="seconds before the first run")
    arguments = parser.parse_args()
    with running_agent(with_server=False) as agent:
        time.sleep(arguments.idle)
        latencies = []
        for number in range(arguments.runs):
            time.sleep(0.3 if number else 0)
            latencies.append(one_start(agent.base_dir, agent.directory / f"first-{number}"))
    print(f"after {arguments.idle:.0f} s of idling: {latencies[0]:.1f} ms")
    print(
        f"{arguments.runs} starts: median {statistics.median(latencies):.1f} ms, "
        f"min {min(latencies):.1f}, max {max(latencies):.1f}"
    )


def one_start(base_dir: Path, proof: Path) -> float:
    """Hand one script in; return the milliseconds until its first instruction."""
    request = {"op": "submit", "name": "latency", "work": {"script": note_start(proof)}}
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(base_dir / "agent.sock"))
        begin = time.time()
        connection.sendall(json.dumps(request).encode() + b"\n")
        connection.recv(1000)
    wait_for(proof.exists)
    return (float(proof.read_text()) - begin) * 1000


if __name__ == "__main__":
    main()
