"""How long a task that is filed at the server waits for its start, with and without events.

python -m benchmarks.pick_up [--runs 20] [--poll-interval 5]
"""

from __future__ import annotations

import argparse
import random
import statistics
import time

from benchmarks.agent import note_start, running_agent, wait_for


def measure(runs: int, poll_interval_s: float, *, events: bool) -> list[float]:
    """Return the seconds between filing a task and its first instruction."""
    waits = []
    with running_agent(
        with_server=True,
        KERUTA_POLL_INTERVAL=f"{poll_interval_s}s",
        KERUTA_API_EVENTS="true" if events else "false",
    ) as agent:
        time.sleep(2)
        for number in range(runs):
            time.sleep(random.uniform(0, poll_interval_s))
            proof = agent.directory / f"proof-{number}"
            begin = time.time()
            agent.file_task(note_start(proof))
            wait_for(proof.exists)
            waits.append(float(proof.read_text()) - begin)
    return waits


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--poll-interval", type=float, default=5)
    arguments = parser.parse_args()
    for events in (True, False):
        waits = measure(arguments.runs, arguments.poll_interval, events=events)
        print(
            f"poll interval {arguments.poll_interval:g} s, events {'on' if events else 'off'}: "
            f"median {statistics.median(waits):.3f} s, max {max(waits):.3f} s"
        )


if __name__ == "__main__":
    main()
