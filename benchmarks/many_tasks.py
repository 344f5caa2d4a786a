"""An agent whose session holds many PENDING tasks: what recording, reports and commands cost.

The tasks are written into the server's database, all at once, and the agent works at them while
everything is measured. A report's lag is the time from the end of a job in agent.db to its end at
the server.

python -m benchmarks.many_tasks [--tasks 100000] [--seconds 60]
"""

from __future__ import annotations

import argparse
import contextlib
import resource
import sqlite3
import statistics
import subprocess
import time
from pathlib import Path

from benchmarks.agent import KERUTA, Measured, cpu_seconds, running_agent, wait_for

#: Copies a task under new ids, each a millisecond younger.
COPY = """
WITH RECURSIVE numbers (number) AS (
    SELECT 1 UNION ALL SELECT number + 1 FROM numbers WHERE number < ?
)
INSERT INTO tasks (id, session_id, name, description, script, status, message, progress,
                   error_code, priority, parameters, created_at, updated_at)
SELECT printf('%08x-0000-4000-8000-%012x', numbers.number, numbers.number), session_id,
       'task ' || numbers.number, description, script, 'PENDING', message, 0, error_code, priority,
       parameters, created_at + 1000 * numbers.number, updated_at
FROM numbers, tasks WHERE tasks.id = ?
"""


def query(path: Path, sql: str, *parameters: object) -> list[tuple[object, ...]]:
    """Return the rows of a database of the agent or its server."""
    with contextlib.closing(sqlite3.connect(path, timeout=60)) as connection:
        rows = connection.execute(sql, parameters).fetchall()
        connection.commit()
        return rows


def number(path: Path, sql: str) -> float:
    """Return the one number that a query asks for."""
    return float(str(query(path, sql)[0][0] or 0))


def record(agent: Measured, server: Path, tasks: int) -> None:
    """Fill the session and print how long the agent takes to record its tasks."""
    pattern = agent.file_task("true")
    wait_for(lambda: agent.status(pattern) == "COMPLETED")
    cpu = agent.cpu_seconds()
    query(server, COPY, tasks, pattern)
    database = agent.base_dir / "agent.db"
    wait_for(lambda: number(database, "SELECT max(id) FROM jobs") > tasks, timeout_s=3600)
    took = number(database, "SELECT max(recorded_at) - min(recorded_at) FROM jobs WHERE id > 1")
    print(
        f"recorded {tasks} tasks in {took:.2f} s from the first to the last; processor of the "
        f"agent {agent.cpu_seconds() - cpu:.2f} s, with the poll and the jobs that ran meanwhile"
    )


def reports(agent: Measured, server: Path, seconds: float) -> None:
    """Let the agent work and print how late the ends of its jobs reach the server."""
    cpu, server_cpu = agent.cpu_seconds(), cpu_seconds(agent.server_pid)
    time.sleep(seconds)
    used, served = agent.cpu_seconds() - cpu, cpu_seconds(agent.server_pid) - server_cpu
    now = time.time()
    here = query(
        agent.base_dir / "agent.db",
        "SELECT task_id, finished_at FROM jobs WHERE state = 'finished' AND id > 1",
    )
    there = dict(query(server, "SELECT id, ended_at FROM tasks WHERE ended_at IS NOT NULL"))
    late = [float(str(there[task])) / 1e6 - float(str(end)) for task, end in here if task in there]
    unsent = [now - float(str(end)) for task, end in here if task not in there]
    if late:
        print(
            f"{len(late)} of {len(here)} ends are at the server, median "
            f"{statistics.median(late):.2f} s and at most {max(late):.2f} s late; "
            f"the oldest of the others has waited {max(unsent, default=0):.2f} s"
        )
    print(
        f"in {seconds:.0f} s of work the agent used {used:.1f} s of processor, the server "
        f"{served:.1f} s; memory {agent.memory_mb():.0f} MB, peak {agent.memory_mb('VmHWM'):.0f} MB"
    )


def command(agent: Measured, *arguments: str, times: int = 5) -> None:
    """Print what a command costs."""
    walls, processors = [], []
    for _ in range(times):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        began = time.monotonic()
        subprocess.run(
            [*KERUTA, *arguments], env=agent.environment, check=True, stdout=subprocess.DEVNULL
        )
        walls.append(time.monotonic() - began)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        processors.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    print(
        f"keruta {' '.join(arguments)}: best {min(walls):.2f} s, median "
        f"{statistics.median(walls):.2f} s, processor {min(processors):.2f} s"
    )


def start(agent: Measured) -> None:
    """Print how long another daemon takes until it can be asked."""
    if agent.daemon is None:
        raise RuntimeError("no daemon")
    agent.daemon.terminate()
    agent.daemon.wait(120)
    address = agent.base_dir / "agent.sock"
    address.unlink(missing_ok=True)
    began = time.monotonic()
    agent.daemon = subprocess.Popen([*KERUTA, "daemon"], env=agent.environment)
    wait_for(address.exists)
    print(
        f"start until the socket listens: {time.monotonic() - began:.2f} s, "
        f"processor {agent.cpu_seconds():.2f} s"
    )


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--tasks", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=60)
    arguments = parser.parse_args()
    with running_agent(with_server=True, KERUTA_API_TIMEOUT="60s") as agent:
        server = agent.directory / "server" / "server.db"
        record(agent, server, arguments.tasks)
        reports(agent, server, arguments.seconds)
        command(agent, "queue", "list")
        command(agent, "queue", "list", "--json", times=1)
        command(agent, "status")
        start(agent)
        agent.kill_daemon()


if __name__ == "__main__":
    main()
