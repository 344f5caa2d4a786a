"""What a run uses is measured over its whole tree, kept, counted and sent."""

from __future__ import annotations

import dataclasses
import os
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from keruta_agent.agent.journey import run
from keruta_agent.agent.journey.agent import Agent
from keruta_agent.agent.journey.context import RunContext
from keruta_agent.agent.journey.observe import measure
from keruta_agent.agent.run.resources import usage as runs_usage
from keruta_agent.agent.run.resources.descendants import Descendants
from keruta_agent.agent.store.jobs import Work
from keruta_agent.agent.store.run import Run
from keruta_agent.agent.store.usage import Usage
from keruta_agent.core.boot_clock import boot_seconds
from keruta_agent.core.model import Task
from keruta_agent.testing import InMemoryKerutaApi
from tests.helpers.waiting import wait_until

#: Ends when the test says so.
UNTIL_GO = 'while [ ! -e "$KERUTA_RUN_DIR/go" ]; do sleep 0.05; done'
MEGABYTE = 1024 * 1024


@pytest.fixture(autouse=True)
def quick_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a short test see what takes a long run."""
    monkeypatch.setattr(measure, "FIRST_LOOK_S", 0.0)
    monkeypatch.setattr(measure, "RAREST_LOOK_S", 0.05)
    monkeypatch.setattr(measure, "COST_SHARE", 1000.0)


def run_until(agent: Agent, condition: Callable[[Run], object], what: str) -> None:
    """Run the next job, and lets its script end once a condition has come true."""
    worker = threading.Thread(target=run.run_next, args=(agent,))
    worker.start()
    active = wait_until(agent.records.runs.active, "the run is claimed")
    try:
        wait_until(lambda: condition(active[1]), what)
    finally:
        (agent.directory_of(active[1]).path / "go").touch()
        worker.join()


def usage_of(agent: Agent, run_id: int = 1) -> Usage:
    found = agent.records.usages.get(run_id)
    assert found is not None
    return found


@pytest.fixture
def on_disk() -> Iterator[Path]:
    """A directory on a disk: the tests' own may be in memory, where no write is counted."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as directory:
        yield Path(directory)


def test_run_is_measured_with_its_children_and_with_what_escaped_it(
    agent: Agent, on_disk: Path
) -> None:
    script = f"""
        python3 -c 'import time; held = bytearray({50 * MEGABYTE}); time.sleep(60)' &
        setsid sh -c 'python3 -c "import time; held = bytearray({30 * MEGABYTE}); time.sleep(60)" &
            exit 0'
        head -c {8 * MEGABYTE} /dev/zero > {on_disk}/written && sync {on_disk}/written
        {UNTIL_GO}
    """
    agent.records.jobs.record_script("tree", Work(script=script))

    def all_seen(active: Run) -> bool:
        seen = agent.records.usages.get(active.id)
        return seen is not None and seen.memory_bytes > 80 * MEGABYTE

    run_until(agent, all_seen, "the memory of both children is seen")

    usage = usage_of(agent)
    assert usage.peak_memory_bytes > 80 * MEGABYTE
    assert 0 < (usage.average_memory_bytes or 0) <= usage.peak_memory_bytes
    assert usage.peak_processes >= 3
    assert usage.processes_seen >= usage.peak_processes
    assert usage.write_bytes >= 8 * MEGABYTE
    assert usage.wall_s is not None and usage.wall_s > 0
    assert (usage.processes, usage.memory_bytes) == (0, 0)


def test_processor_time_of_children_that_ended_is_seen_while_the_run_goes_on(agent: Agent) -> None:
    burn = "i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done"
    agent.records.jobs.record_script("burn", Work(script=f"sh -c '{burn}'; {UNTIL_GO}"))

    def burnt(active: Run) -> bool:
        seen = agent.records.usages.get(active.id)
        return seen is not None and seen.user_s >= 0.1

    run_until(agent, burnt, "the processor time of the child is seen")

    assert usage_of(agent).user_s >= 0.1


def test_shortest_run_is_measured_by_its_exit_record(agent: Agent) -> None:
    agent.records.jobs.record_script("short", Work(script="exit 3"))
    ended = run.run_next(agent)

    assert ended is not None and ended.exit_code == 3
    usage = usage_of(agent)
    assert usage.wall_s is not None and usage.wall_s >= 0
    assert usage.peak_memory_bytes > 100_000
    assert (usage.peak_processes, usage.processes_seen) == (1, 1)


def test_measurements_are_sent_when_the_run_has_ended(
    agent: Agent,
    api: InMemoryKerutaApi,
    file_task: Callable[..., Task],
    run_all: Callable[[], None],
) -> None:
    task = file_task("echo hello; sleep 0.3; exit 4")

    run_all()

    (sent,) = api.metrics[task.id]
    assert sent["exitCode"] == 4
    assert sent["durationMs"] >= 300
    assert sent["maxRssKb"] > 100
    assert sent["peakMemoryBytes"] >= sent["maxRssKb"] * 1024
    assert sent["run"] == 1
    assert sent["timestamp"].endswith("Z")
    assert set(sent) >= {"cpuUserMs", "cpuSystemMs", "readBytes", "writeBytes", "peakProcesses"}
    series = sent["series"]
    assert len(series["elapsedS"]) == len(series["cpuPercent"]) == len(series["memoryBytes"])


def test_run_that_never_started_is_counted_and_not_measured(agent: Agent) -> None:
    agent.records.jobs.record_script("none", Work(command=("/no/such/program",)))
    run.run_next(agent)

    assert agent.records.usages.get(1) is None
    assert agent.records.counters.get("runs") == {("not_started", "NOT_STARTED"): 1.0}


def test_ends_are_counted_by_outcome_and_reason(agent: Agent) -> None:
    for script in ("true", "printf 12345", "exit 7", "keruta fail --error-code MINE; exit 1"):
        agent.records.jobs.record_script("job", Work(script=script))
        run.run_next(agent)

    assert agent.records.counters.get("runs") == {
        ("succeeded", ""): 2.0,
        ("failed", "EXIT_7"): 1.0,
        ("failed", "REPORTED"): 1.0,
    }
    assert sum(agent.records.counters.get("durations").values()) == 4.0
    assert agent.records.counters.get("bytes")[("stdout",)] == 5.0


def test_next_agent_adds_to_what_the_one_before_has_measured(agent: Agent) -> None:
    agent.records.jobs.record_script("long", Work(script=UNTIL_GO))
    worker = threading.Thread(target=run.run_next, args=(agent,))
    worker.start()
    active = wait_until(agent.records.runs.active, "the run is claimed")[1]
    wait_until(
        lambda: (agent.records.usages.get(active.id) or Usage()).processes_seen, "it is measured"
    )
    directory = agent.directory_of(active)
    shim, script = directory.read_identity(), directory.read_process()
    assert shim is not None and script is not None
    before = dataclasses.replace(
        usage_of(agent, active.id),
        elapsed_s=boot_seconds() - script.started_at,
        write_bytes=7_000_000_000,
        processes_seen=500,
        peak_memory_bytes=9_000_000_000,
    )
    (directory.path / "go").touch()
    worker.join()

    agent.records.usages.put(active.id, before)
    next_meter = measure.Meter(RunContext(agent, *agent.records.runs.with_job(active.id)), shim)
    next_meter.look()
    next_meter.look()
    after = usage_of(agent, active.id)
    assert after.elapsed_s > before.elapsed_s
    assert (after.write_bytes, after.peak_memory_bytes) == (7_000_000_000, 9_000_000_000)
    assert after.processes_seen == 500


def test_processes_that_were_counted_before_are_not_counted_again() -> None:
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(writing)
        os.read(reading, 1)
        os._exit(0)
    os.close(reading)
    try:
        descendants = Descendants(os.getpid())
        wait_until(
            lambda: child in [process.pid for process in descendants.find()], "the child is seen"
        )
        fresh = runs_usage.UsageReader(os.getpid())
        later = runs_usage.UsageReader(os.getpid(), counted_until=boot_seconds() + 1)
        first, second, adopted = fresh.read(), fresh.read(), later.read()
    finally:
        os.close(writing)
        os.waitpid(child, 0)

    assert first.new_processes == first.processes >= 1
    assert (second.new_processes, adopted.new_processes) == (0, 0)
    assert adopted.processes == first.processes
    assert first.memory_bytes > 0
    assert (second.read_bytes, adopted.read_bytes) == (0, 0)
