"""The loan of a slot for one run: kept while the run lives, then given back once, if at all."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Final

from keruta_agent.core import errors
from keruta_agent.core.coding.model import SlotAllocation, TaskContext

if TYPE_CHECKING:
    from keruta_agent.runner.deadline import Deadline
    from keruta_agent.runner.services.repo_pool import RepoPoolClient

logger = logging.getLogger(__name__)

#: Seconds without a sign of life after which the pool may lend the slot to somebody else.
LEASE_S: Final = 60.0
#: Seconds between signs of life: two of them may be lost.
HEARTBEAT_S: Final = LEASE_S / 4
#: Seconds to wait for a slot, unless the run has less.
MOST_WAIT_S: Final = 3600.0
_LOOK_S: Final = 0.1


@contextlib.contextmanager
def lent(
    pool: RepoPoolClient,
    context: TaskContext,
    runner_id: str,
    deadline: Deadline,
    say: Callable[[str], None],
) -> Iterator[TaskContext]:
    """Yield the context with the place of a slot that is this run's until the end of the block.

    Raises:
        SlotAllocationError: the pool lends none.
        RunnerError: the pool cannot be reached.
    """
    slot = _Allocation(pool, context, runner_id, deadline).wait()
    ended = threading.Event()
    beats = threading.Thread(
        target=_keep, args=(pool, slot, ended, deadline), name="slot-heartbeat", daemon=True
    )
    # A pool that says nothing of leases lends until the slot is given back.
    if slot.lease_token is not None:
        deadline.lasts_until(time.monotonic() + LEASE_S)
        beats.start()
    try:
        say(f"works in slot {slot.slot_id}")
        yield dataclasses.replace(context, slot_id=slot.slot_id, slot_path=slot.slot_path)
    finally:
        ended.set()
        if beats.ident is not None:
            beats.join(HEARTBEAT_S)
        deadline.lasts_until(None)
        _give_back(pool, slot, say)


def _keep(
    pool: RepoPoolClient, slot: SlotAllocation, ended: threading.Event, deadline: Deadline
) -> None:
    while not ended.wait(HEARTBEAT_S):
        began = time.monotonic()
        try:
            pool.heartbeat(slot.slot_id)
        except errors.RunnerError as exc:
            logger.warning(
                "no sign of life for slot %s: %s",
                slot.slot_id,
                exc,
                extra={"action": "runner_heartbeat_failed"},
            )
            if isinstance(exc, errors.ServiceError) and exc.status in (404, 409, 410, 423):
                deadline.stop(f"The slot {slot.slot_id} is somebody else's by now")
                return
        if not ended.is_set():
            # Also without an answer: a pool that is away lends nothing, and begins all leases anew
            # when it is back. Only a run that was frozen itself comes too late.
            deadline.lasts_until(began + LEASE_S)


def _give_back(pool: RepoPoolClient, slot: SlotAllocation, say: Callable[[str], None]) -> None:
    """Release a slot; if that fails, its lease does the same a little later."""
    try:
        pool.release_slot(slot.slot_id)
    except errors.RunnerError as exc:
        say(f"slot {slot.slot_id} comes back by itself, it could not be released: {exc}")
        return
    say(f"gave slot {slot.slot_id} back")


class _Allocation:
    """A request for a slot, in a thread: it takes long, and the run may be stopped."""

    def __init__(
        self, pool: RepoPoolClient, context: TaskContext, runner_id: str, deadline: Deadline
    ) -> None:
        self._pool = pool
        self._url = str(context.metadata["repo_url"])
        self._for = f"{runner_id} {context.task_id}"
        self._deadline = deadline
        self._lock = threading.Lock()
        self._is_given_up = False
        self._answer: SlotAllocation | BaseException | None = None

    def wait(self) -> SlotAllocation:
        asking = threading.Thread(target=self._ask, name="slot-allocation", daemon=True)
        asking.start()
        while asking.is_alive():
            asking.join(_LOOK_S)
            try:
                self._deadline.check()
            except errors.RunnerError:
                self._give_up()
                raise
        if isinstance(self._answer, SlotAllocation):
            return self._answer
        raise self._answer or errors.SlotAllocationError("The pool was not asked")

    def _ask(self) -> None:
        answer: Any
        try:
            answer = self._pool.allocate_slot(
                self._url,
                self._for,
                timeout_seconds=max(1.0, min(MOST_WAIT_S, self._deadline.left_s)),
                lease_seconds=LEASE_S,
            )
        except BaseException as exc:  # raised again where it was asked for
            answer = exc
        with self._lock:
            self._answer = answer
            is_late = self._is_given_up
        if is_late and isinstance(answer, SlotAllocation):
            _give_back(self._pool, answer, logger.info)

    def _give_up(self) -> None:
        with self._lock:
            self._is_given_up = True
            answer = self._answer
        if isinstance(answer, SlotAllocation):
            _give_back(self._pool, answer, logger.info)
