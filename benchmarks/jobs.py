"""What a job of ``true`` costs from end to end: time, requests, processor time.

All tasks wait before the agent starts on them, so that jobs follow each other without a pause.
``--waiting`` adds tasks that stay PENDING: the cost of a job should not depend on them.

python -m benchmarks.jobs [--jobs 200] [--waiting 0] [--no-api]
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import time

import requests

from benchmarks.agent import KERUTA, Measured, free_port, running_agent, wait_for
from benchmarks.many_tasks import COPY, number, query

ENDED = "SELECT count(*) FROM jobs WHERE state = 'finished'"
TOKEN = "benchmark-of-jobs"
RESULT = re.compile(r'^keruta_api_requests_total\{result="(\w+)"\} ([0-9.e+]+)', re.MULTILINE)


def requests_made(port: int) -> float:
    """Return how many requests the agent has sent to its API."""
    metrics = requests.get(
        f"http://127.0.0.1:{port}/metrics",
        headers={"Authorization": f"Bearer {TOKEN}"},
        timeout=30,
    ).text
    return sum(float(count) for _, count in RESULT.findall(metrics))


def file_tasks(agent: Measured, jobs: int, waiting: int) -> None:
    """File the tasks that run, and behind them those that only wait."""
    server = agent.directory / "server" / "server.db"
    pattern = agent.file_task("true")
    query(server, COPY, jobs - 1 + waiting, pattern)


def execute(agent: Measured, jobs: int) -> None:
    """Queue jobs without an API."""
    for _ in range(jobs):
        subprocess.run(
            [*KERUTA, "execute", "--detach", "-"],
            env=agent.environment,
            input="true\n",
            text=True,
            capture_output=True,
            check=True,
        )


def measure(arguments: argparse.Namespace) -> dict[str, float]:
    """Run the jobs and return what each cost."""
    port = free_port()
    with running_agent(
        with_server=not arguments.no_api,
        KERUTA_DAEMON_PORT=str(port),
        KERUTA_DAEMON_TOKEN=TOKEN,
    ) as agent:
        database = agent.base_dir / "agent.db"
        subprocess.run(
            [*KERUTA, "queue", "pause"],
            env=agent.environment,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        if arguments.no_api:
            execute(agent, arguments.jobs)
        else:
            file_tasks(agent, arguments.jobs, arguments.waiting)
        wanted = arguments.jobs + arguments.waiting
        wait_for(lambda: number(database, "SELECT count(*) FROM jobs") >= wanted)
        time.sleep(2)
        before, cpu = requests_made(port), agent.cpu_seconds()
        began = time.perf_counter()
        subprocess.run(
            [*KERUTA, "queue", "resume"],
            env=agent.environment,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        wait_for(lambda: number(database, ENDED) >= arguments.jobs)
        took = time.perf_counter() - began
        ran = number(database, ENDED)
        return {
            "jobs": ran,
            "ms": 1000 * took / ran,
            "requests": (requests_made(port) - before) / ran,
            "agent_cpu_ms": 1000 * (agent.cpu_seconds() - cpu) / ran,
        }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=200)
    parser.add_argument("--waiting", type=int, default=0)
    parser.add_argument("--no-api", action="store_true")
    print(json.dumps({key: round(value, 2) for key, value in measure(parser.parse_args()).items()}))


if __name__ == "__main__":
    main()
