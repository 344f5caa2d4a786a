"""The outcomes of tests, as far as a framework tells them.

All of it comes from programs that the model may have written: it is bounded, and believed only so
far as a framework's own words go. What a process under test forges cannot be told apart from what
its framework writes; SECURITY.md says so.
"""

from __future__ import annotations

import collections
import dataclasses
import enum
from collections.abc import Iterable, Iterator, Mapping
from typing import Final

#: Tests that are told apart; of more, only the numbers are known.
MOST_TESTS: Final = 100_000
#: Characters of a test's name.
LONGEST_NAME: Final = 500


class Outcome(enum.StrEnum):
    """What became of one test."""

    PASSED = "passed"
    FAILED = "failed"
    SKIPPED = "skipped"
    #: It failed, as somebody said it would.
    XFAILED = "xfailed"
    #: It stands for tests that could not be loaded, and is none itself.
    NOT_LOADED = "not loaded"


#: Outcomes of tests that were executed.
_RAN: Final = (Outcome.PASSED, Outcome.FAILED, Outcome.XFAILED)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """What one command said of its tests."""

    framework: str
    #: How often each outcome occurred.
    counts: Mapping[Outcome, int]
    #: By name. Of all tests when ``is_complete``, else of some or none.
    outcomes: Mapping[str, Outcome] = dataclasses.field(default_factory=dict)
    is_complete: bool = False

    @classmethod
    def of(cls, framework: str, named: Iterable[tuple[str, Outcome]]) -> Report:
        """Return the report that names these tests; equal names are numbered."""
        outcomes: dict[str, Outcome] = {}
        seen: collections.Counter[str] = collections.Counter()
        counts: collections.Counter[Outcome] = collections.Counter()
        for name, outcome in named:
            counts[outcome] += 1
            if len(outcomes) >= MOST_TESTS:
                continue
            name = name[:LONGEST_NAME]
            seen[name] += 1
            outcomes[f"{name} #{seen[name]}" if seen[name] > 1 else name] = outcome
        is_complete = sum(counts.values()) == len(outcomes)
        return cls(framework=framework, counts=counts, outcomes=outcomes, is_complete=is_complete)

    def count(self, *which: Outcome) -> int:
        """Return how many tests had one of these outcomes."""
        return sum(self.counts.get(outcome, 0) for outcome in which)

    @property
    def ran(self) -> int:
        """How many tests were executed."""
        return self.count(*_RAN)

    def names(self, *which: Outcome) -> Iterator[str]:
        """Yield the known names of tests with one of these outcomes."""
        return (name for name, outcome in self.outcomes.items() if outcome in which)


def merged(reports: Iterable[Report]) -> Report | None:
    """Return several reports of one command as one, None without any."""
    found = list(reports)
    if len(found) <= 1:
        return found[0] if found else None
    counts: collections.Counter[Outcome] = collections.Counter()
    outcomes: dict[str, Outcome] = {}
    for report in found:
        counts.update(report.counts)
        for name, outcome in report.outcomes.items():
            outcomes.setdefault(name if name not in outcomes else f"{name} (again)", outcome)
    return Report(
        framework=", ".join(dict.fromkeys(report.framework for report in found)),
        counts=counts,
        outcomes=outcomes,
        is_complete=all(report.is_complete for report in found),
    )
