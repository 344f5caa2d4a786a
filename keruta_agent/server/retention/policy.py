"""How long what is kept: by age, by number, or both, each for itself."""

from __future__ import annotations

import dataclasses

from keruta_agent.core.units import parse_duration

_FORM = "Give an age with its unit, a number of the newest, or both, such as 90d, 10000 or 90d,1000"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limit:
    """What is kept of one kind; what passes either limit goes."""

    #: Seconds since the end.
    age_s: float | None = None
    #: How many of those that ended last.
    count: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Policy:
    """What is kept. None: all of it."""

    sessions: Limit | None = None
    #: Of ended tasks.
    logs: Limit | None = None
    artifacts: Limit | None = None
    #: Ended coding tasks of the pool of runners.
    coding: Limit | None = None
    #: Whether logs and artifacts of ended tasks also go while their session goes on.
    in_live_sessions: bool = False

    @property
    def is_set(self) -> bool:
        """Whether anything is ever forgotten."""
        return any((self.sessions, self.logs, self.artifacts, self.coding))


def parse_limit(text: str) -> Limit:
    """Read a limit: ``90d``, ``10000`` or ``90d,10000``.

    Raises:
        ValueError: it is none.
    """
    ages, counts = [], []
    for part in (part.strip() for part in text.split(",")):
        if part.isascii() and part.isdigit():
            counts.append(int(part))
            continue
        try:
            ages.append(parse_duration(part))
        except ValueError:
            raise ValueError(_FORM) from None
        if not part[-1].isalpha():  # a number of seconds, where one of pieces may be meant
            raise ValueError(_FORM)
    if len(ages) > 1 or len(counts) > 1 or any(count > 10**12 for count in counts):
        raise ValueError(_FORM)
    return Limit(age_s=ages[0] if ages else None, count=counts[0] if counts else None)
