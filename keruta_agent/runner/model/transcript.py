"""What was said to a model and what it answered, word by word, for the evidence of a run."""

from __future__ import annotations

import collections
import json
from collections.abc import Mapping
from typing import Any, Final

from keruta_agent.core.redaction.redactor import Redactor
from keruta_agent.runner.checks import failure

#: Requests that are kept, the last ones, and characters of each text in them.
MOST_REQUESTS: Final = 30
LONGEST_TEXT: Final = 32_000


class Transcript:
    """The last requests to a model, with their answers."""

    def __init__(self) -> None:
        self._lines: collections.deque[dict[str, Any]] = collections.deque(maxlen=MOST_REQUESTS)
        self._count = 0

    def add(self, request: Mapping[str, Any], answer: Mapping[str, Any], seconds: float) -> None:
        """Keep one request, and its answer or why there is none."""
        self._count += 1
        self._lines.append(
            {
                "request_number": self._count,
                "seconds": round(seconds, 3),
                "request": _cut(request),
                "answer": _cut(answer),
            }
        )

    def text(self, redactor: Redactor) -> str:
        """Return a line of JSON for each request, without secrets."""
        lines = (redactor.redact_value(line) for line in self._lines)
        return "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines)


def _cut(value: Any) -> Any:
    if isinstance(value, str):
        return failure.cut(value, LONGEST_TEXT)
    if isinstance(value, Mapping):
        return {key: _cut(inner) for key, inner in value.items()}
    return [_cut(inner) for inner in value] if isinstance(value, list | tuple) else value
