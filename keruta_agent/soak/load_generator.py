"""The load of a soak: files tasks at the API, cancels some, and watches how they end.

Runs in a thread of its own beside the kills.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from keruta_agent.soak.api import DirectApi
from keruta_agent.soak.evidence import leftovers
from keruta_agent.soak.soak_tasks import End, PlannedTask, plan_task
from keruta_agent.soak.world import World

#: Tasks that are open at a time: enough that a freed agent always finds one.
MOST_OPEN: Final = 6
#: Seconds between looks at the open tasks.
LOOK_S: Final = 0.25
#: Seconds before a cancel that found no job yet is tried again.
CANCEL_AGAIN_S: Final = 0.5
ENDED: Final = frozenset({"COMPLETED", "FAILED", "CANCELLED"})


@dataclasses.dataclass(kw_only=True)
class FiledTask:
    """A task that the API has accepted."""

    plan: PlannedTask
    id: str
    filed_at: float
    #: The first end that was seen at the API.
    end: End | None = None
    #: Processes of the task that lived on after that end.
    survivors: tuple[str, ...] = ()
    #: The agent that has claimed it, as it was seen last.
    claimed_by: str = ""
    cancel_at: float | None = None
    was_cancelled: bool = False


class LoadGenerator:
    """The thread that keeps the queue filled."""

    def __init__(self, world: World, seed: int) -> None:
        self._world = world
        self._seed = seed
        self._api = DirectApi(world.server_address)
        self._stop = threading.Event()
        self._files = True
        self._thread = threading.Thread(target=self._work, name="load-generator", daemon=True)
        self._failure: Exception | None = None
        self.session_id = self._api.create_session(world.repository.url)
        self.tasks: list[FiledTask] = []

    def start(self) -> None:
        """Begin to file tasks."""
        self._thread.start()

    def file_no_more(self) -> None:
        """File no further task; go on to cancel and to watch."""
        self._files = False

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()
        self._api.close()

    def end_session(self) -> None:
        """End the session, after all tasks have ended."""
        with contextlib.closing(DirectApi(self._world.server_address)) as api:
            api.end_session(self.session_id)

    def check(self) -> None:
        """Raise what went wrong in the thread, if anything did."""
        if self._failure is not None:
            raise self._failure

    @property
    def open(self) -> list[FiledTask]:
        """Tasks that have not ended at the API."""
        return [task for task in list(self.tasks) if task.end is None]

    def _work(self) -> None:
        try:
            while not self._stop.wait(LOOK_S):
                for task in self.open:
                    self._look_at(task)
                while self._files and len(self.open) < MOST_OPEN:
                    self._file()
                self._cancel()
        except Exception as exc:  # the thread's edge: raised again by check()
            self._failure = exc

    def _file(self) -> None:
        plan = plan_task(self._seed, len(self.tasks), self._world.script_records)
        (self._world.script_records / plan.name).mkdir(exist_ok=True)
        task_id = self._api.file_task(self.session_id, plan)
        filed = FiledTask(plan=plan, id=task_id, filed_at=time.monotonic())
        if plan.cancel_after_s is not None:
            filed.cancel_at = filed.filed_at + plan.cancel_after_s
        self.tasks.append(filed)

    def _look_at(self, task: FiledTask) -> None:
        found: Mapping[str, Any] = self._api.task(task.id)
        task.claimed_by = found["claimedBy"] or ""
        if found["status"] not in ENDED:
            return
        record = self._world.script_records / task.plan.name
        pids = leftovers.of_task(task.id, record)
        task.survivors = tuple(f"{pid} {_words(pid)}" for pid in pids)
        task.end = (found["status"], found["errorCode"])

    def _cancel(self) -> None:
        now = time.monotonic()
        for task in self.open:
            if task.cancel_at is None or task.was_cancelled or task.cancel_at > now:
                continue
            # The agent may not know it yet, or not have its answer ready: then once more, later.
            task.was_cancelled = self._cancel_at_owner(task)
            task.cancel_at = now + CANCEL_AGAIN_S

    def _cancel_at_owner(self, task: FiledTask) -> bool:
        """Cancel a task at the agent that has claimed it; return whether that took it.

        Not at another one, nor before one has: it would tell the API when the owner's script runs,
        and that script is stopped only once the owner has heard of it.
        """
        if not task.claimed_by:
            return False
        owners = [agent for agent in self._world.agents if agent.agent_id == task.claimed_by]
        return any(self._world.command(one, "queue", "cancel", task.id) == 0 for one in owners)


def _words(pid: int) -> str:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return "(gone by now)"
    return words.replace(b"\0", b" ").decode(errors="replace").strip()
