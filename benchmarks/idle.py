"""What an idle daemon costs, with a server that it listens to and polls.

python -m benchmarks.idle [--seconds 60] [--with-script]

With ``--with-script`` a script runs and is silent meanwhile: what following and measuring it costs.
"""

from __future__ import annotations

import argparse
import time

from benchmarks.agent import cpu_seconds, memory_mb, running_agent


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--with-script", action="store_true")
    arguments = parser.parse_args()
    with running_agent(with_server=True) as agent:
        if agent.daemon is None:
            raise RuntimeError("no daemon")
        # It ends by itself: a daemon that stops would wait for it.
        agent.file_task(f"sleep {arguments.seconds + 10}" if arguments.with_script else "true")
        time.sleep(5)
        before = cpu_seconds(agent.daemon.pid)
        time.sleep(arguments.seconds)
        used = cpu_seconds(agent.daemon.pid) - before
        print(f"processor: {used / arguments.seconds:.2%} of a core")
        print(f"memory: {memory_mb(agent.daemon.pid):.1f} MB")


if __name__ == "__main__":
    main()
