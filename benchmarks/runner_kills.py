"""Kills runs of coding tasks at random points, and looks whether anything is lost.

Each task is killed once (kill -9) and then done again; at the end every slot must have come back,
and no key may stand in any file.
"""

from __future__ import annotations

import argparse
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.helpers.coding import KEY, RIGHT, TOKEN
from tests.helpers.coding_world import CodingWorld, coding_world

#: Seconds after which a lease is over, and some more for the cleaning.
LEASE_S = 60.0 + 30.0


def main() -> int:
    """Print what became of it; exit with 1 when something was lost."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    options = parser.parse_args()
    chance = random.Random(options.seed)
    with (
        tempfile.TemporaryDirectory(prefix="keruta-kills-") as directory,
        coding_world(Path(directory), pool_size=30) as world,
    ):
        shortest_s = _timed(world, "0", "feature/0")[1]
        killed = number = failed = lost = 0
        while killed < options.rounds:
            number += 1
            name, branch = str(number), f"feature/{number}"
            if not world.kill_after(chance.uniform(0.2, shortest_s), name, branch):
                continue  # it was done before
            killed += 1
            before = world.repository.branches
            done, took_s = _timed(world, name, branch)
            # One that goes on from a pushed branch takes less, and says nothing of the others.
            if "round 2" in done.stdout:
                shortest_s = min(shortest_s, took_s)
            is_right = done.returncode == 0 and world.repository.file(
                branch, "half.py"
            ) == RIGHT.rstrip("\n")
            if not is_right:
                failed += 1
                print(f"round {number}: {done.stdout}")
            lost += len(world.lost(before))
        until = time.monotonic() + LEASE_S
        held = _held(world.slots())
        at_the_end = held
        while held and time.monotonic() < until:
            time.sleep(1)
            held = _held(world.slots())
        leaks = world.files_with(KEY, TOKEN)
    print(f"seed {options.seed}, {number} tasks, a run takes {shortest_s:.1f} s")
    print(f"killed in the middle: {killed}; second runs that failed: {failed}")
    print(f"branches with lost commits: {lost}; files with a key: {len(leaks)}")
    print(f"slots that killed runs held at the end: {at_the_end}, {LEASE_S:g} s later: {held}")
    return 1 if failed or lost or leaks or held else 0


def _timed(
    world: CodingWorld, name: str, branch: str
) -> tuple[subprocess.CompletedProcess[str], float]:
    began = time.monotonic()
    done = world.run(name, branch)
    return done, time.monotonic() - began


def _held(slots: list[dict[str, object]]) -> int:
    return sum(slot["state"] == "allocated" for slot in slots)


if __name__ == "__main__":
    sys.exit(main())
