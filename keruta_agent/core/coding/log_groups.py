"""Groups of a coding task's log that its page reads: what was changed, and how far it is tested."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator
from typing import Any, Final

from keruta_agent.core.coding.model import Verification

#: What was changed, as a unified diff.
DIFF: Final = "diff"
#: How far the tests can be relied on, one fact a line.
VERIFICATION: Final = "verification"
#: Facts of one kind, and characters of a fact: a log's lines are short.
MOST_FACTS: Final = 50
LONGEST_FACT: Final = 500
#: Lines that an account has at most.
MOST_LINES: Final = MOST_FACTS * len(dataclasses.fields(Verification))

_FIRST: Final = "status"
_NAMES: Final = frozenset(field.name for field in dataclasses.fields(Verification))


def lines_of(account: Verification) -> Iterator[str]:
    """Yield the lines that tell an account, the status first."""
    for name, value in dataclasses.asdict(account).items():
        for fact in (value if isinstance(value, list) else [value])[:MOST_FACTS]:
            yield json.dumps({name: str(fact)[:LONGEST_FACT]}, ensure_ascii=False)


def account_of(lines: Iterable[str]) -> Verification | None:
    """Return the last account that lines tell, None where they tell none.

    What cannot be read is left out: a script may have printed a group of this name.
    """
    found: Verification | None = None
    for line in lines:
        for name, fact in _facts(line):
            if name == _FIRST:
                found = Verification(status=fact)
            elif found is not None:
                known = getattr(found, name)
                more: dict[str, Any] = {
                    name: [*known, fact][:MOST_FACTS] if isinstance(known, list) else fact
                }
                found = dataclasses.replace(found, **more)
    return found


def _facts(line: str) -> Iterator[tuple[str, str]]:
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return
    if isinstance(values, dict):
        for name, fact in values.items():
            if name in _NAMES and isinstance(fact, str):
                yield name, fact[:LONGEST_FACT]
