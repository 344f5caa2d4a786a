"""What tests said, in words for the model; and whether it is what they said before."""

from __future__ import annotations

import hashlib
import re
from typing import Final

from keruta_agent.core.coding.model import TestResult

#: Characters of one command's output that the model is shown: its beginning and its end.
MOST_OUTPUT: Final = 24_000

#: What differs between two runs of tests that fail alike: times, addresses, temporary names.
_PASSING: Final = re.compile(
    r"\b\d+(?:\.\d+)?\s?(?:s|ms|us|µs|seconds?|secs?|minutes?)\b"
    r"|\b\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d\S*|\b\d\d:\d\d:\d\d(?:[.,]\d+)?\b"
    r"|\b0x[0-9a-fA-F]+\b|/tmp/\S+|\bpid[ =:]?\d+\b"
    r"|=+",
    re.I,
)


def cut(text: str, most: int) -> str:
    """Return a text of at most about so many characters: its beginning and its end."""
    if len(text) <= most:
        return text
    head = most // 3
    tail = most - head
    left_out = len(text) - head - tail
    return f"{text[:head]}\n[... {left_out} characters left out ...]\n{text[-tail:]}"


def describe(result: TestResult) -> str:
    """Describe the tests that failed, with their output."""
    parts = []
    if result.reverted:
        listed = "\n".join(f"- {text}" for text in result.reverted)
        parts.append(
            "Taken back before the tests ran, as existing tests and what configures or runs them "
            f"are not to be changed (new tests go into new files):\n{cut(listed, MOST_OUTPUT)}"
        )
    parts += [f"Not accepted: {fault}" for fault in result.faults]
    for test in result.test_results:
        if test.success:
            continue
        output = "\n".join(part.strip("\n") for part in (test.stdout, test.stderr) if part.strip())
        parts.append(f"$ {test.command}\n{cut(output, MOST_OUTPUT)}\n(exit code {test.exit_code})")
    return "\n\n".join(parts) or "The tests did not run to their end."


def digest(text: str) -> str:
    """Return a mark that two failures share when they are the same but for times and addresses."""
    same = " ".join(_PASSING.sub("*", text).split())
    return hashlib.sha256(same.encode("utf-8", "replace")).hexdigest()


def last_line(text: str) -> str:
    """Return the line of a failure that most likely names the cause."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    telling = [line for line in lines if not line.startswith(("(exit code", "$ "))]
    return (telling or lines or [""])[-1][:200]
