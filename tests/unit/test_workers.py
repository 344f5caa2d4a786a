"""No test is left out, however they are shared out among workers, and whoever dies."""

from __future__ import annotations

import random
from collections import deque
from dataclasses import dataclass
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.helpers.workers import Plan


@dataclass
class Item:
    nodeid: str


def _plan(sizes: list[int]) -> Plan:
    items = [
        Item(f"tests/unit/test_{module}.py::test_{number}")
        for module, size in enumerate(sizes)
        for number in range(size)
    ]
    return Plan(cast("list[pytest.Item]", items))


@given(st.lists(st.integers(0, 20), max_size=6), st.integers(1, 5), st.integers(0))
def test_each_test_is_given_once(sizes: list[int], workers: int, seed: int) -> None:
    plan, chance = _plan(sizes), random.Random(seed)
    given_out: list[int] = []
    while (index := plan.next_for(chance.randrange(workers))) is not None:
        given_out.append(index)
    assert sorted(given_out) == list(range(sum(sizes)))


def test_module_stays_with_one_worker_while_there_are_others() -> None:
    plan = _plan([3, 3])
    assert [plan.next_for(0), plan.next_for(1), plan.next_for(0), plan.next_for(1)] == [0, 3, 1, 4]


def test_idle_worker_takes_half_of_what_waits_for_another() -> None:
    plan = _plan([5])
    assert plan.next_for(0) == 0
    assert [plan.next_for(1), plan.next_for(1), plan.next_for(0)] == [3, 4, 1]


def test_test_that_a_dead_worker_was_to_run_next_is_run() -> None:
    plan = _plan([3])
    first, second = plan.next_for(0), plan.next_for(0)
    assert (first, second) == (0, 1)
    plan.take_back(0, deque([1]))
    assert [plan.next_for(0), plan.next_for(0), plan.next_for(0)] == [1, 2, None]
