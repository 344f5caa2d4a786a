"""Damage to agents' clones from outside, and removal of old clones that no agent removes."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Sequence
from typing import Final

from keruta_agent.core import file_trees
from keruta_agent.soak import clone_damage, repository
from keruta_agent.soak.daemon import Daemon
from keruta_agent.soak.load_generator import FiledTask
from keruta_agent.soak.world import World

#: How often, after a kill, a clone is broken.
SHARE: Final = 0.25
#: Clones moved aside that are left where they are. Those with commits that nobody else has are
#: never removed by an agent, and many of them are a reason to wait for a person.
MOST_MOVED: Final = 8


class CloneBreaker:
    """The breaker of agents' clones, after some of the kills."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        # The words in seeds stay as they are: a seed names the same soak in every version.
        self._random = random.Random(f"{seed}/vandal")
        #: Clones that were broken.
        self.broken = 0

    def maybe_break(self, tasks: Sequence[FiledTask]) -> None:
        """Break an agent's clone now and then, never one with changes that are to be pushed."""
        if self._random.random() >= SHARE:
            return
        agent = self._random.choice(self._world.agents)
        failing = {task.id for task in list(tasks) if task.plan.end[0] == "FAILED"}
        running = agent.running_tasks()
        # A task that begins meanwhile would prepare the clone while it is being broken.
        if agent.is_running or running is None or not failing.issuperset(running):
            return
        self._clear_away(agent)
        clone = agent.base_dir / repository.NAME
        self.broken += clone_damage.break_clone(clone, self._random)

    def _clear_away(self, agent: Daemon) -> None:
        moved = sorted(agent.base_dir.glob(f"{repository.NAME}.moved-*"))
        if len(moved) <= MOST_MOVED:
            return
        for path in moved:
            with contextlib.suppress(OSError):
                file_trees.remove(path)
