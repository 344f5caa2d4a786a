"""Lets 8 runners solve 40 coding tasks over a pool of 5 slots, each runner a process of its own."""

from __future__ import annotations

import argparse
import concurrent.futures
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from tests.helpers.coding_world import CodingWorld, coding_world

_LOOK_S = 0.05


def main() -> int:
    """Print the figures; exit with 1 when a task failed or a slot was lent twice."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=40)
    parser.add_argument("--runners", type=int, default=8)
    parser.add_argument("--slots", type=int, default=5)
    options = parser.parse_args()
    with (
        tempfile.TemporaryDirectory(prefix="keruta-pool-") as directory,
        coding_world(Path(directory), pool_size=options.slots) as world,
        concurrent.futures.ThreadPoolExecutor(options.runners) as runners,
    ):
        watch = _Watch(world)
        began = time.monotonic()
        codes = list(
            runners.map(
                lambda n: world.run(str(n), f"feature/{n}").returncode, range(options.tasks)
            )
        )
        took_s = time.monotonic() - began
        watch.end()
        branches = len(world.repository.branches) - 1
        left = sum(slot["state"] == "allocated" for slot in world.slots())
    print(
        f"{options.tasks} tasks, {options.runners} runners, {options.slots} slots: {took_s:.1f} s"
    )
    print(f"exit codes {dict(Counter(codes))}, branches {branches}, slots still lent {left}")
    print(f"most slots lent at once {watch.most}, holders of two slots {watch.doubles}")
    is_well = set(codes) == {0} and branches == options.tasks and not left and not watch.doubles
    return 0 if is_well and watch.most <= options.slots else 1


class _Watch:
    """Looks at the pool all the time."""

    def __init__(self, world: CodingWorld) -> None:
        self.most = 0
        self.doubles = 0
        self._world = world
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()

    def end(self) -> None:
        """End it."""
        self._ended.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._ended.wait(_LOOK_S):
            lent = [slot for slot in self._world.slots() if slot["state"] == "allocated"]
            holders = Counter(str(slot["required_by"]) for slot in lent)
            self.most = max(self.most, len(lent))
            self.doubles += sum(count > 1 for count in holders.values())


if __name__ == "__main__":
    sys.exit(main())
