"""Kills the runner's services again and again while runners borrow slots, report and upload.

python -m benchmarks.runner_services [--runners 8] [--slots 5] [--loans 200] [--seed N]
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import random
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from keruta_agent.runner import (
    ArtifactStoreClient,
    RepoPoolClient,
    RetryConfig,
    TaskRegistryClient,
)
from tests.helpers.processes import free_port
from tests.helpers.repositories import Repository, git

_PATIENT = RetryConfig(max_retries=500, initial_delay_seconds=0.1, max_delay_seconds=0.3)


class Services:
    """The services as a process that can be killed and started again in its place."""

    def __init__(self, directory: Path, slots: int) -> None:
        ports = [str(free_port()) for _ in range(3)]
        self.registry, self.pool, self.store = (f"http://127.0.0.1:{port}" for port in ports)
        self._command = [
            *(sys.executable, "-m", "keruta_agent", "server", "--runner-services-only"),
            *("--data", str(directory), "--pool-size", str(slots), "--registry-port", ports[0]),
            *("--pool-port", ports[1], "--store-port", ports[2]),
        ]
        self.start()

    def start(self) -> None:
        """Start the process and return when it serves."""
        self._process = subprocess.Popen(self._command, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self._process.stdout.readline()

    def kill(self) -> None:
        """End the process as ``kill -9`` does."""
        self._process.kill()
        self._process.wait()


@dataclasses.dataclass
class Tally:
    """What the runners saw."""

    held: set[Path] = dataclasses.field(default_factory=set)
    uris: dict[int, str] = dataclasses.field(default_factory=dict)
    faults: list[str] = dataclasses.field(default_factory=list)
    guard: threading.Lock = dataclasses.field(default_factory=threading.Lock)


def _run(services: Services, origin: Path, tally: Tally, number: int) -> None:
    with (
        RepoPoolClient(services.pool, retry_config=_PATIENT) as pool,
        TaskRegistryClient(services.registry, retry_config=_PATIENT) as registry,
        ArtifactStoreClient(services.store, retry_config=_PATIENT) as store,
    ):
        slot = pool.allocate_slot(str(origin), f"runner-{number}", timeout_seconds=600)
        with tally.guard:
            if slot.slot_path in tally.held:
                tally.faults.append(f"{slot.slot_path} was lent twice")
            tally.held.add(slot.slot_path)
        if {path.name for path in slot.slot_path.iterdir()} != {".git", "a.txt"}:
            tally.faults.append(f"{slot.slot_path} was not clean")
        (slot.slot_path / "left").touch()
        registry.add_event("1.1", "held", {"number": number})
        uri = store.upload("log", f"{number}\n".encode() * 1000)
        with tally.guard:
            tally.held.remove(slot.slot_path)
            tally.uris[number] = uri
        pool.release_slot(slot.slot_id, lease_token=slot.lease_token)


def _check(services: Services, tally: Tally, loans: int) -> None:
    with TaskRegistryClient(services.registry) as registry:
        events = registry.get_task("1.1")["events"]
    if sorted(event["data"]["number"] for event in events) != list(range(loans)):
        tally.faults.append("an event is missing, or stored twice")
    with ArtifactStoreClient(services.store) as store:
        for number, uri in tally.uris.items():
            if store.download(uri) != f"{number}\n".encode() * 1000:
                tally.faults.append(f"{uri} is not what was uploaded")


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--runners", type=int, default=8)
    parser.add_argument("--slots", type=int, default=5)
    parser.add_argument("--loans", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    tally, kills = Tally(), 0
    with tempfile.TemporaryDirectory() as place, contextlib.ExitStack() as stack:
        origin = Path(place) / "origin.git"
        git(Path(place), "init", "--quiet", "--bare", "--initial-branch=main", str(origin))
        Repository(origin).commit("main", {"a.txt": "a\n"})
        services = Services(Path(place) / "data", arguments.slots)
        stack.callback(services.kill)
        began = time.monotonic()
        with ThreadPoolExecutor(arguments.runners) as threads:
            runs = [
                threads.submit(_run, services, origin, tally, number)
                for number in range(arguments.loans)
            ]
            while not all(run.done() for run in runs):
                time.sleep(chance.uniform(0.1, 1.2))
                services.kill()
                kills += 1
                services.start()
            for run in runs:
                run.result()
        seconds = time.monotonic() - began
        _check(services, tally, arguments.loans)
    print(
        f"{arguments.loans} loans of {arguments.slots} slots to {arguments.runners} runners, "
        f"{kills} kills, {seconds:.0f} s, seed {arguments.seed}: {len(tally.faults)} faults"
    )
    for fault in tally.faults:
        print(f"  {fault}")


if __name__ == "__main__":
    main()
