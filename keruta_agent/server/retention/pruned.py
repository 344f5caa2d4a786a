"""How much a round of pruning has removed."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pruned:
    """How much was pruned, or would be."""

    sessions: int = 0
    tasks: int = 0
    log_lines: int = 0
    artifacts: int = 0
    coding_tasks: int = 0

    def __add__(self, other: Pruned) -> Pruned:
        """Return both together."""
        names = [field.name for field in dataclasses.fields(self)]
        return Pruned(**{name: getattr(self, name) + getattr(other, name) for name in names})

    @property
    def is_nothing(self) -> bool:
        """Whether nothing was."""
        return self == Pruned()
