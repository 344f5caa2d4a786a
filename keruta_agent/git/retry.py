"""How often a command is tried whose connection fails."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Final, TypeVar

from keruta_agent.git.command import Say, say_nothing
from keruta_agent.git.problems import TRANSIENT, GitError

_Given = TypeVar("_Given")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Retry:
    """A number of attempts, and what is done between them."""

    attempts: int
    #: Waits after an attempt, the first of which is number 0. It may raise to end the waiting.
    pause: Callable[[int], None]
    say: Say = say_nothing

    def run(self, attempt: Callable[[], _Given]) -> tuple[_Given, int]:
        """Return what an attempt gave, and how many failed before it.

        Raises:
            WorkspaceError: it failed of something else, or too often.
        """
        number = 0
        while True:
            try:
                return attempt(), number
            except GitError as exc:
                if exc.problem not in TRANSIENT or number + 1 >= self.attempts:
                    raise
                self.say(f"{exc.message}; tries again")
            self.pause(number)
            number += 1


def _never(_number: int) -> None:
    """Nothing is waited for."""


ONCE: Final = Retry(attempts=1, pause=_never)
