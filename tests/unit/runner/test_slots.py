"""Slots that are borrowed for a run."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from keruta_agent.core import errors
from keruta_agent.core.coding.model import SlotAllocation, TaskContext
from keruta_agent.runner.deadline import Deadline, StoppedError
from keruta_agent.runner.workspace import slots
from tests.helpers.waiting import wait_until

CONTEXT = TaskContext(
    task_id="1", spec_name="s", title="t", description="d", metadata={"repo_url": "/r"}
)


class Pool:
    """A pool that notes what is asked of it, and knows no heartbeats."""

    def __init__(self, lease_token: str | None) -> None:
        self.lease_token = lease_token
        self.beats = threading.Semaphore(0)
        self.released: list[str] = []

    def allocate_slot(self, *_: Any, **__: Any) -> SlotAllocation:
        return SlotAllocation("slot-1", Path("/slot-1"), self.lease_token)

    def heartbeat(self, slot_id: str) -> None:
        self.beats.release()
        raise errors.ServiceError("no such route", status=404)

    def release_slot(self, slot_id: str) -> None:
        self.released.append(slot_id)


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "HEARTBEAT_S", 0.01)


def _lent(pool: Any, deadline: Deadline) -> Any:
    return slots.lent(pool, CONTEXT, "runner-1", deadline, lambda _text: None)


def test_pool_without_leases_is_sent_no_signs_of_life(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(slots, "LEASE_S", 0.0)
    pool, deadline = Pool(None), Deadline(100)
    with _lent(pool, deadline) as context:
        assert context.slot_path == Path("/slot-1")
        assert not pool.beats.acquire(timeout=0.1)
        deadline.check()
    assert pool.released == ["slot-1"]


def test_slot_that_is_somebody_elses_stops_the_run() -> None:
    pool, deadline = Pool("lease"), Deadline(100)
    with _lent(pool, deadline):
        wait_until(lambda: deadline.stop_reason() is not None, "the run is stopped")
    assert "somebody else's" in str(deadline.stop_reason())


def test_run_that_stood_still_for_longer_than_its_lease_touches_nothing_more(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(slots, "HEARTBEAT_S", 1000.0)
    monkeypatch.setattr(slots, "LEASE_S", -1.0)
    deadline = Deadline(100)
    with _lent(Pool("lease"), deadline), pytest.raises(StoppedError, match="stood still"):
        deadline.check()
