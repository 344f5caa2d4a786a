"""The proof: kills the daemon again and again, lets everything come to rest, and counts.

The daemon, its server and all scripts are real processes. The instants of the kills, the network's
conditions and the tasks come from the seed; how they coincide is up to the machine.
"""

from __future__ import annotations

import contextlib
import dataclasses
import random
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from keruta_agent.core import errors
from keruta_agent.core.signals import StopRequests
from keruta_agent.soak.clone_breaker import CloneBreaker
from keruta_agent.soak.load_generator import LoadGenerator
from keruta_agent.soak.proxy import Condition
from keruta_agent.soak.sandbox import tail
from keruta_agent.soak.verdict import Promise, Verdict, judge
from keruta_agent.soak.world import World

#: Seconds that a daemon lives. Some are killed while they start, which takes half a second; the
#: others so long after they are ready, however busy the machine is.
EARLY_S: Final = (0.0, 0.5)
LATER_S: Final = (0.0, 1.1)
EARLY_SHARE: Final = 0.15
#: Seconds after its beginning at which one is killed too that is not ready, because the API is
#: silent. To come to that beginning takes long on a busy machine.
START_S: Final = 2.0
BEGIN_S: Final = 30.0
READY_LOOK_S: Final = 0.03
#: How often, instead, the daemon has to replace itself before, or the server dies with it.
REPLACED_SHARE: Final = 0.05
SERVER_SHARE: Final = 0.04
#: How often, between two kills, another agent of the session is started or killed.
RIVAL_SHARE: Final = 0.25
#: How often the first agent stays away until the other has taken over, and the seconds for that:
#: its lease, and what is left of a start.
AWAY_SHARE: Final = 0.25
AWAY_S: Final = 5.0
#: Seconds that a condition of the network lasts; half of the time it is well.
CONDITION_S: Final = (0.3, 1.6)
WELL_S: Final = (0.5, 2.5)
#: Programs that the scripts use.
PROGRAMS: Final = ("git", "flock", "setsid", "seq", "sha256sum", "tee")
#: Seconds without any change after which a soak that should come to rest is given up.
STALL_TIMEOUT_S: Final = 60.0
#: Seconds after which it is given up, whatever moves.
LONGEST_REST_S: Final = 900.0
LOOK_S: Final = 0.1
#: Seconds between two lines that say how far it is.
PROGRESS_S: Final = 5.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    """What a soak came to."""

    seed: int
    kills: int
    #: How often the daemon was to replace itself.
    replaced: int
    server_kills: int
    #: How often a second agent of the session was started, and one took over from the other.
    rivals: int
    takeovers: int
    #: Clones that the soak broke, besides those that its scripts broke.
    clones_broken: int
    #: How often the API was away or strange.
    outages: int
    seconds: float
    verdict: Verdict
    #: Where everything was kept; None when it was removed.
    evidence: Path | None


def soak(kills: int, seed: int, say: Callable[[str], None]) -> Outcome:
    """Run one soak; remove everything afterwards unless a promise was broken.

    Raises:
        AgentStateError: this machine lacks what a soak needs.
        RunError: the soak itself could not be run to its end.
        KeyboardInterrupt: somebody asked it to end.
    """
    missing = [name for name in PROGRAMS if shutil.which(name) is None]
    if missing:
        raise errors.AgentStateError(
            f"the scripts of a soak need programs that are not here: {', '.join(missing)}",
            advice="Install git, util-linux and coreutils",
        )
    with StopRequests(hang_up_stops=True).heard() as requests, _world(seed) as world:
        return _Soak(world, kills, seed, requests, say).run()


@contextlib.contextmanager
def _world(seed: int) -> Iterator[World]:
    world = World(seed)
    try:
        yield world
    except KeyboardInterrupt:
        world.end_processes()
        world.remove()
        raise
    except BaseException as exc:
        world.end_processes()
        exc.add_note(f"All of the soak is kept in {world.directory}")
        raise


class _Soak:
    def __init__(
        self,
        world: World,
        kills: int,
        seed: int,
        requests: StopRequests,
        say: Callable[[str], None],
    ) -> None:
        self._world = world
        self._kills = kills
        self._seed = seed
        self._requests = requests
        self._say = say
        self._random = random.Random(f"{seed}/kills")
        self._rivals = random.Random(f"{seed}/rivals")
        self._clone_breaker = CloneBreaker(world, seed)
        self._conditions = random.Random(f"{seed}/moods")
        self._began = time.monotonic()
        self._next_condition = self._began
        self._next_line = self._began
        self._condition = Condition.WELL
        self._outages = 0
        self._done = self._replaced = self._server_kills = 0

    def run(self) -> Outcome:
        """Kill, settle, judge."""
        self._world.start()
        load = LoadGenerator(self._world, self._seed)
        self._world.serve(load.session_id)
        load.start()
        try:
            complaint = self._live(load)
        finally:
            load.stop()
        for agent in self._world.agents:
            agent.kill()
        self._say("compares what the scripts wrote with what the server has")
        verdict = judge(self._world, load.tasks, load.session_id)
        if complaint:
            verdict.violations[Promise.TRUTH].insert(0, complaint)
        return self._outcome(verdict)

    def _live(self, load: LoadGenerator) -> str | None:
        """Kill and settle; return why it did not come to rest, None if it did."""
        while self._done < self._kills:
            self._kill_once(load)
        load.file_no_more()
        self._set_condition(Condition.WELL)
        self._world.agent.start()
        # What one of them has claimed, the other never begins.
        if self._world.rival.starts and not self._world.rival.is_running:
            self._world.rival.start()
        return self._settle(load) or self._end_session(load)

    def _kill_once(self, load: LoadGenerator) -> None:
        """Run one daemon for a moment, then kill it."""
        agent = self._world.agent
        agent.start()
        early = self._random.random() < EARLY_SHARE
        life_s = self._random.uniform(*(EARLY_S if early else LATER_S))
        if not early:
            self._wait_until_ready(load)
        if self._random.random() < REPLACED_SHARE:
            self._pause(load, self._random.uniform(0.0, life_s))
            agent.replace()
            self._replaced += 1
        self._pause(load, life_s)
        if self._random.random() < SERVER_SHARE:
            self._world.kill_server()
            self._server_kills += 1
        if self._rivals.random() < RIVAL_SHARE:
            self._start_or_kill_rival()
        code = agent.kill()
        # SIGHUP ends a daemon that has not come to its handlers yet.
        if code not in (-signal.SIGKILL, -signal.SIGHUP):
            raise errors.RunError(
                f"a daemon of the soak ended by itself with code {code}:\n{tail(agent.log)}"
            )
        self._done += code == -signal.SIGKILL
        self._clone_breaker.maybe_break(load.tasks)
        if self._world.rival.is_running and self._rivals.random() < AWAY_SHARE:
            self._wait_for_takeover(load)

    def _wait_for_takeover(self, load: LoadGenerator) -> None:
        before = self._world.rival.takeovers
        deadline = time.monotonic() + AWAY_S
        while self._world.rival.takeovers == before and time.monotonic() < deadline:
            self._pause(load, LOOK_S)

    def _start_or_kill_rival(self) -> None:
        rival = self._world.rival
        if rival.is_running:
            rival.kill()
        else:
            rival.start()

    def _wait_until_ready(self, load: LoadGenerator) -> None:
        agent = self._world.agent
        self._wait_for(load, lambda: agent.has_begun, BEGIN_S)
        self._wait_for(load, lambda: agent.is_ready, START_S)

    def _wait_for(self, load: LoadGenerator, is_there: Callable[[], bool], seconds: float) -> None:
        """Wait until the agent has come so far, has ended, or take too long."""
        deadline = time.monotonic() + seconds
        while not is_there() and time.monotonic() < deadline:
            if self._world.agent.code() is not None:
                return
            self._pause(load, READY_LOOK_S)

    def _pause(self, load: LoadGenerator, seconds: float) -> None:
        """Wait, while the network's condition changes."""
        until = time.monotonic() + seconds
        while (now := time.monotonic()) < until:
            if now >= self._next_condition and self._done < self._kills:
                self._change_condition(now)
            if now >= self._next_line:
                self._say_progress(load)
            load.check()
            self._requests.wait(min(until - now, LOOK_S))
            if self._requests.count:
                raise KeyboardInterrupt

    def _change_condition(self, now: float) -> None:
        if self._condition is Condition.WELL:
            self._set_condition(
                self._conditions.choice(
                    [condition for condition in Condition if condition is not Condition.WELL]
                )
            )
            self._next_condition = now + self._conditions.uniform(*CONDITION_S)
        else:
            self._set_condition(Condition.WELL)
            self._next_condition = now + self._conditions.uniform(*WELL_S)

    def _set_condition(self, condition: Condition) -> None:
        self._condition = condition
        self._outages += condition is not Condition.WELL
        self._world.proxy.set_condition(condition)

    def _say_progress(self, load: LoadGenerator) -> None:
        self._next_line = time.monotonic() + PROGRESS_S
        left = len(load.open)
        self._say(
            f"{time.monotonic() - self._began:5.0f} s: {self._done} of {self._kills} kills, "
            f"{len(load.tasks) - left} tasks ended, {left} open, the API is {self._condition}"
        )

    def _settle(self, load: LoadGenerator) -> str | None:
        """Wait until all tasks have ended and are reported; return what is left, or None."""
        agents = [agent for agent in self._world.agents if agent.starts]
        before: object = None
        last = time.monotonic() + LONGEST_REST_S
        deadline = time.monotonic() + STALL_TIMEOUT_S
        while True:
            waiting = sum(agent.unsent() for agent in agents)
            if not load.open and waiting == 0:
                return None
            state = (len(load.open), waiting)
            if state != before:
                before, deadline = state, time.monotonic() + STALL_TIMEOUT_S
            for agent in agents:
                if agent.code() is not None:
                    return f"the last daemon ended by itself:\n{tail(agent.log)}"
            if time.monotonic() > min(deadline, last):
                names = ", ".join(task.plan.name for task in load.open) or "none"
                return (
                    f"it did not come to rest with a healthy API; nothing moves since "
                    f"{time.monotonic() - deadline + STALL_TIMEOUT_S:.0f} s; "
                    f"open tasks: {names}; unsent writes: {waiting}"
                )
            self._pause(load, LOOK_S)

    def _end_session(self, load: LoadGenerator) -> str | None:
        """End the session and wait for the daemons to leave; return what they did wrong."""
        load.end_session()
        deadline = time.monotonic() + STALL_TIMEOUT_S
        for agent in self._world.agents:
            if not agent.starts:
                continue
            while (code := agent.code()) is None and time.monotonic() < deadline:
                self._pause(load, LOOK_S)
            if code != 0:
                how = "did not end" if code is None else f"ended with exit code {code}"
                return f"the daemon {how} when the session ended:\n{tail(agent.log)}"
        return None

    def _outcome(self, verdict: Verdict) -> Outcome:
        evidence = None
        self._world.end_processes()
        # Before its log is removed.
        takeovers = sum(agent.takeovers for agent in self._world.agents)
        if verdict.is_clean:
            self._world.remove()
        else:
            evidence = self._world.directory
            lines = [
                f"{promise}: {text}\n"
                for promise, texts in verdict.violations.items()
                for text in texts
            ]
            (evidence / "violations.txt").write_text("".join(lines), encoding="utf-8")
        return Outcome(
            seed=self._seed,
            kills=self._done,
            replaced=self._replaced,
            server_kills=self._server_kills,
            rivals=self._world.rival.starts,
            takeovers=takeovers,
            clones_broken=self._clone_breaker.broken,
            outages=self._outages,
            seconds=time.monotonic() - self._began,
            verdict=verdict,
            evidence=evidence,
        )
