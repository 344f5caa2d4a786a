"""What a task may use up."""

from __future__ import annotations

import pytest

from keruta_agent.core import errors
from keruta_agent.runner.budget import Budget, Limits
from keruta_agent.runner.config import RunnerConfig


def test_cost_is_counted_by_the_prices_of_a_million_tokens() -> None:
    budget = Budget(Limits(input_price=2_500, output_price=10_000))
    budget.spend(400_000, 100_000)
    budget.spend(100_000, 0)
    assert (budget.tokens, budget.cost) == (600_000, 2250.0)
    budget.check()


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (Limits(tokens=30), "tokens are used up: 30 of 30"),
        (Limits(cost=1, output_price=100_000), r"money is used up: 0\.002 of 0\.001"),
        (Limits(seconds=5), "time is used up: 5 s"),
    ],
)
def test_what_is_used_up_is_named(limits: Limits, reason: str) -> None:
    times = iter([100.0, 105.0])
    budget = Budget(limits, clock=lambda: next(times))
    budget.spend(10, 20)
    with pytest.raises(errors.BudgetExceededError, match=reason):
        budget.check()


def test_limits_are_those_of_the_configuration() -> None:
    config = RunnerConfig(
        max_rounds=7, max_steps=6, max_total_tokens=8, max_cost=9, llm_input_price=1
    )
    assert Limits.of(config, 4.0) == Limits(
        rounds=7, steps=6, tokens=8, cost=9, seconds=4.0, input_price=1
    )
