"""What a task may use up: tokens, money, time and rounds. Which one ends it, is said."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Final

from keruta_agent.core import errors
from keruta_agent.runner.config import RunnerConfig

#: Prices are for so many tokens.
PRICED: Final = 1_000_000


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """How much there is of each; 0 is any amount, but for the rounds and the steps."""

    rounds: int = 3
    #: How often the model may ask to see more.
    steps: int = 0
    tokens: int = 0
    #: Thousandths of a currency.
    cost: int = 0
    seconds: float = 0.0
    #: Thousandths of a currency for a million tokens.
    input_price: int = 0
    output_price: int = 0

    @classmethod
    def of(cls, config: RunnerConfig, seconds: float = 0.0) -> Limits:
        """Return the limits that a configuration sets."""
        return cls(
            rounds=config.max_rounds,
            steps=config.max_steps,
            tokens=config.max_total_tokens,
            cost=config.max_cost,
            seconds=seconds,
            input_price=config.llm_input_price,
            output_price=config.llm_output_price,
        )


class Budget:
    """What is used of the limits.

    It is looked at before the model is asked: what is overshot is one answer at most.
    """

    def __init__(self, limits: Limits, clock: Callable[[], float] = time.monotonic) -> None:
        self.limits = limits
        self.prompt_tokens = 0
        self.completion_tokens = 0
        self._clock = clock
        self._began = clock()

    @property
    def tokens(self) -> int:
        """Tokens of all prompts and answers so far."""
        return self.prompt_tokens + self.completion_tokens

    @property
    def cost(self) -> float:
        """What they cost, in thousandths of a currency."""
        limits = self.limits
        price = self.prompt_tokens * limits.input_price
        return (price + self.completion_tokens * limits.output_price) / PRICED

    @property
    def is_half_used(self) -> bool:
        """Whether what is left of tokens or money is to be kept for changes."""
        limits = self.limits
        return bool(
            (limits.tokens and 2 * self.tokens >= limits.tokens)
            or (limits.cost and 2 * self.cost >= limits.cost)
        )

    def spend(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Count one request."""
        self.prompt_tokens += prompt_tokens
        self.completion_tokens += completion_tokens

    def check(self) -> None:
        """Return when the model may be asked.

        Raises:
            BudgetExceededError: tokens, money or time are used up.
        """
        limits = self.limits
        if limits.tokens and self.tokens >= limits.tokens:
            raise errors.BudgetExceededError(
                f"The tokens are used up: {self.tokens} of {limits.tokens}",
                advice="Raise runner.max_tokens, or make the task smaller",
            )
        if limits.cost and self.cost >= limits.cost:
            raise errors.BudgetExceededError(
                f"The money is used up: {self.cost / 1000:.3f} of {limits.cost / 1000:.3f}",
                advice="Raise runner.max_cost, or make the task smaller",
            )
        self.check_time()

    def check_time(self) -> None:
        """Return while there is time.

        Raises:
            BudgetExceededError: it is over.
        """
        limit_s = self.limits.seconds
        if limit_s and self._clock() - self._began >= limit_s:
            raise errors.BudgetExceededError(
                f"The time is used up: {limit_s:g} s",
                advice="Give the task a larger timeout_seconds, or make it smaller",
            )
