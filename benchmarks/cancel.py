"""How long a cancel takes, from the command to the last process gone, with a grace of 2 s.

python -m benchmarks.cancel
"""

from __future__ import annotations

import subprocess
import time
from pathlib import Path

from benchmarks.agent import KERUTA, running_agent, wait_for

GRACE_S = 2
SCRIPTS = {
    "a plain sleep": "echo $$ > {pids}; exec sleep 300",
    "a shell pipeline": "sleep 300 | sleep 300 & echo $$ $! > {pids}; wait",
    "ignores SIGTERM": "trap '' TERM; echo $$ > {pids}; while :; do sleep 1; done",
    "double fork, setsid": "(setsid sh -c 'echo $$ > {pids}; sleep 300' &); sleep 300",
}


def is_gone(pid: str) -> bool:
    """Return whether a process has ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def main() -> None:
    """Measure and print."""
    with running_agent(with_server=False, KERUTA_STOP_GRACE=f"{GRACE_S}s") as agent:
        for name, script in SCRIPTS.items():
            pids = agent.directory / name.replace(" ", "-").replace(",", "")
            command = [*KERUTA, "execute", "--detach", script.format(pids=pids)]
            job = subprocess.run(
                command, env=agent.environment, capture_output=True, text=True, check=True
            ).stdout.strip()
            wait_for(lambda pids=pids: pids.exists() and pids.read_text().strip())
            begin = time.monotonic()
            subprocess.run(
                [*KERUTA, "queue", "cancel", job],
                env=agent.environment,
                capture_output=True,
                check=True,
            )
            wait_for(lambda pids=pids: all(is_gone(pid) for pid in pids.read_text().split()))
            print(f"{name}: {time.monotonic() - begin:.2f} s (grace {GRACE_S} s)")


if __name__ == "__main__":
    main()
