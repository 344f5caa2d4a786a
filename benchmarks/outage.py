"""A script that prints 200 MB while the API is down: the agent's memory, and what arrives later.

python -m benchmarks.outage [--megabytes 200]
"""

from __future__ import annotations

import argparse
import time

from benchmarks.agent import memory_mb, running_agent, wait_for
from benchmarks.flood import script


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=int, default=200)
    arguments = parser.parse_args()
    with running_agent(with_server=True) as agent:
        if agent.daemon is None:
            raise RuntimeError("no daemon")
        proof = agent.directory / "proof"
        begun = agent.directory / "begun"
        go = agent.directory / "go"
        held = f"touch {begun}; while ! [ -e {go} ]; do sleep 0.05; done\n"
        task = agent.file_task(held + script(arguments.megabytes, proof).partition("\n")[2])
        wait_for(begun.exists)
        agent.stop_server()
        go.touch()
        wait_for(proof.exists)
        time.sleep(5)
        print(f"memory with the API down: peak {memory_mb(agent.daemon.pid, 'VmHWM'):.1f} MB")
        agent.start_server()
        begin = time.monotonic()
        wait_for(lambda: agent.status(task) == "COMPLETED", timeout_s=1800)
        print(
            f"{agent.log_count(task)} lines arrived within {time.monotonic() - begin:.0f} s, "
            f"COMPLETED after them; peak {memory_mb(agent.daemon.pid, 'VmHWM'):.1f} MB"
        )


if __name__ == "__main__":
    main()
