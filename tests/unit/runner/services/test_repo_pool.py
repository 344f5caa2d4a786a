"""Borrowing a slot never borrows two, and says which errors are the pool's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import requests
import requests_mock

from keruta_agent.core import errors
from keruta_agent.runner import RepoPoolClient

URL = "http://pool.test"
ALLOCATE = f"{URL}/slots/allocate"
LENT = {"slot_id": "s-1", "slot_path": "/slots/s-1", "lease_token": "t1"}


@pytest.fixture
def pool() -> RepoPoolClient:
    return RepoPoolClient(URL)


def test_allocation_sends_the_wire_of_the_contract(
    wire: requests_mock.Mocker, pool: RepoPoolClient
) -> None:
    wire.post(ALLOCATE, json={"slot_id": "s-1", "slot_path": "/slots/s-1"})

    slot = pool.allocate_slot("https://host/a.git", required_by="runner-1")

    assert (slot.slot_id, slot.slot_path) == ("s-1", Path("/slots/s-1"))
    assert wire.last_request.json() == {
        "repo_url": "https://host/a.git",
        "required_by": "runner-1",
    }


def test_request_lasts_longer_than_the_wait_that_it_asks_for(
    wire: requests_mock.Mocker, pool: RepoPoolClient
) -> None:
    wire.post(ALLOCATE, json=LENT)

    pool.allocate_slot("https://host/a.git", "r", timeout_seconds=600)

    assert wire.last_request.json()["timeout_seconds"] == 600
    assert wire.last_request.timeout[1] > 600


def test_lost_answer_is_asked_for_again_under_the_same_key(
    wire: requests_mock.Mocker, pool: RepoPoolClient
) -> None:
    wire.post(ALLOCATE, [{"exc": requests.ReadTimeout}, {"status_code": 502}, {"json": LENT}])

    pool.allocate_slot("https://host/a.git", "r")
    pool.allocate_slot("https://host/a.git", "r")

    keys = [sent.headers["Idempotency-Key"] for sent in wire.request_history]
    assert len(keys) == 4
    assert len(set(keys)) == 2
    assert len(set(keys[:3])) == 1


@pytest.mark.parametrize("status", [409, 423, 429, 503])
def test_full_pool_is_an_allocation_error(
    wire: requests_mock.Mocker, pool: RepoPoolClient, status: int
) -> None:
    wire.post(ALLOCATE, status_code=status, json={"error": {"message": "all are lent"}})

    with pytest.raises(errors.SlotAllocationError, match=r"^No available slots at .*all are lent"):
        pool.allocate_slot("https://host/a.git", "r")


@pytest.mark.parametrize(
    "answer", [{}, {"slot_id": "a"}, {"slot_id": 5, "slot_path": "/x"}, [], None]
)
def test_answer_without_a_slot_is_an_allocation_error(
    wire: requests_mock.Mocker, pool: RepoPoolClient, answer: Any
) -> None:
    wire.post(ALLOCATE, json=answer)

    with pytest.raises(errors.SlotAllocationError, match="Invalid slot allocation response"):
        pool.allocate_slot("https://host/a.git", "r")


def test_key_that_is_not_accepted_is_no_lack_of_slots(
    wire: requests_mock.Mocker, pool: RepoPoolClient
) -> None:
    wire.post(ALLOCATE, status_code=403)

    with pytest.raises(errors.AuthenticationError, match="Failed to allocate a slot"):
        pool.allocate_slot("https://host/a.git", "r")


def test_release_names_the_lease_it_ends(wire: requests_mock.Mocker, pool: RepoPoolClient) -> None:
    wire.post(ALLOCATE, json=LENT)
    wire.post(f"{URL}/slots/s-1/release", status_code=204)
    slot = pool.allocate_slot("https://host/a.git", "r")
    assert "t1" not in repr(slot)

    pool.release_slot(slot.slot_id)
    assert wire.last_request.json() == {"lease_token": "t1"}
    pool.release_slot(slot.slot_id)
    assert wire.last_request.json() == {}


GONE = {"status_code": 409, "json": {"error": {"code": "LEASE_ENDED", "message": "it is lent"}}}


def test_slot_that_came_back_by_an_attempt_without_answer_is_given_back(
    wire: requests_mock.Mocker, pool: RepoPoolClient
) -> None:
    wire.post(f"{URL}/slots/s-1/release", [{"exc": requests.ReadTimeout}, GONE])

    pool.release_slot("s-1", lease_token="t1")

    assert wire.call_count == 2


def test_slot_that_is_anothers_by_now_is_not_given_back(
    wire: requests_mock.Mocker, pool: RepoPoolClient
) -> None:
    wire.post(f"{URL}/slots/s-1/release", [GONE])

    with pytest.raises(errors.ServiceError, match="it is lent"):
        pool.release_slot("s-1", lease_token="t1")
