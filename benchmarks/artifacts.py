"""What artifacts cost: a large one with the memory that it takes, and ten thousand small ones.

python -m benchmarks.artifacts [--large-mb 1024] [--files 10000]
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import requests

from benchmarks.agent import Measured, memory_mb, running_agent, wait_for


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--large-mb", type=int, default=1024)
    parser.add_argument("--files", type=int, default=10_000)
    arguments = parser.parse_args()
    add = "keruta artifact add large && rm large"
    for way, how in (("left in the directory", 'mv large "$KERUTA_ARTIFACTS_DIR"'), ("added", add)):
        with running_agent(with_server=True, KERUTA_MAX_FILE_SIZE="1024GB") as agent:
            _large(agent, arguments.large_mb, way, how)
    with running_agent(with_server=True) as agent:
        _small(agent, arguments.files)


def _large(agent: Measured, size_mb: int, way: str, how: str) -> None:
    before = agent.memory_mb("VmHWM")
    made = agent.directory / "made"
    task = agent.file_task(f"head -c {size_mb}M /dev/urandom > large; touch {made}; {how}")
    wait_for(made.exists)
    began = time.monotonic()
    _wait_for_end(agent, task)
    seconds = time.monotonic() - began
    (stored,) = _stored(agent, task)
    whole = stored["size"] == size_mb * 1024 * 1024
    print(
        f"{size_mb} MB, {way}: {seconds:.1f} s, {'whole' if whole else 'NOT WHOLE'}, "
        f"peak memory: agent {agent.memory_mb('VmHWM'):.1f} MB ({before:.1f} before), "
        f"server {memory_mb(agent.server_pid, 'VmHWM'):.1f} MB"
    )


def _small(agent: Measured, count: int) -> None:
    made = agent.directory / "made"
    task = agent.file_task(
        f'cd "$KERUTA_ARTIFACTS_DIR"; seq -w {count} | split -l 1 -a 5 -d - file-; touch {made}'
    )
    wait_for(made.exists)
    began = time.monotonic()
    _wait_for_end(agent, task)
    seconds = time.monotonic() - began
    paths = [each["path"] for each in _stored(agent, task)]
    kept = len(paths) == count and paths == sorted(set(paths))
    print(
        f"{count} small files: {seconds:.1f} s, {'all in order' if kept else 'NOT IN ORDER'}, "
        f"peak memory: agent {agent.memory_mb('VmHWM'):.1f} MB, "
        f"server {memory_mb(agent.server_pid, 'VmHWM'):.1f} MB"
    )


def _wait_for_end(agent: Measured, task: str) -> None:
    # Not as often as wait_for looks: the server has more to do than to answer us.
    while agent.status(task) not in ("COMPLETED", "FAILED"):
        time.sleep(0.2)


def _stored(agent: Measured, task: str) -> list[dict[str, Any]]:
    answer = requests.get(f"{agent.server_url}/api/v1/tasks/{task}/artifacts", timeout=60)
    return list(answer.json())


if __name__ == "__main__":
    main()
