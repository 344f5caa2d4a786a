"""How long a line that a script wrote takes until it can be read at the server.

The script writes the time (and now and then a burst of lines before it) at random intervals, so
that the agent's looks cannot keep step with it. The reader asks every 20 ms for the last line,
which is part of the figure. In the end all lines must be there, in order.

python -m benchmarks.log_lag [--lines 100] [--longest-pause 1.5] [--burst 500]
"""

from __future__ import annotations

import argparse
import statistics
import time

import requests

from benchmarks.agent import Measured, running_agent, wait_for

LOOK_S = 0.02


def script(lines: int, longest_pause_s: float, burst: int) -> str:
    """Return a script that writes when it writes."""
    return f"""#!/bin/bash
RANDOM=1
for n in $(seq {lines}); do
    sleep $(printf '%d.%03d' $((RANDOM % {int(longest_pause_s * 1000)} / 1000)) $((RANDOM % 1000)))
    [ $((n % 10)) -ne 0 ] || seq -f 'burst %.0f' {burst}
    echo "at $n $EPOCHREALTIME"
done
"""


def follow(agent: Measured, task: str) -> list[float]:
    """Return the seconds between the writing of lines and when they could be read."""
    lags: list[float] = []
    url = f"{agent.server_url}/api/v1/tasks/{task}/logs"
    seen = 0
    with requests.Session() as session:
        while True:
            ended = agent.status(task) == "COMPLETED"
            count = session.get(f"{url}/count", timeout=30).json()["count"]
            now = time.time()
            while seen < count:
                # Pages count from 0: this is where the first unseen entry stands, 1000 a page.
                page = {"order": "asc", "size": 1000, "page": seen // 1000}
                entries = session.get(url, params=page, timeout=30).json()[seen % 1000 :]
                lags += [
                    now - float(entry["message"].split()[2])
                    for entry in entries[: count - seen]
                    if entry["message"].startswith("at ")
                ]
                seen += min(len(entries), count - seen)
            if ended:
                return lags
            time.sleep(LOOK_S)


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--lines", type=int, default=100)
    parser.add_argument("--longest-pause", type=float, default=1.5)
    parser.add_argument("--burst", type=int, default=500)
    arguments = parser.parse_args()
    with running_agent(with_server=True) as agent:
        task = agent.file_task(script(arguments.lines, arguments.longest_pause, arguments.burst))
        wait_for(lambda: agent.status(task) != "PENDING")
        lags = follow(agent, task)
        count = agent.log_count(task)
    wanted = arguments.lines + arguments.lines // 10 * arguments.burst
    print(
        f"{len(lags)} lines: median {statistics.median(lags):.3f} s, max {max(lags):.3f} s "
        f"until they could be read; {count} of {wanted} lines arrived"
    )


if __name__ == "__main__":
    main()
