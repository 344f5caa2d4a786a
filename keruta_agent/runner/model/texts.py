"""Texts inside of a prompt: between fences, and cut to a number of tokens."""

from __future__ import annotations

import re

from keruta_agent.runner.checks import failure
from keruta_agent.runner.model.reply import estimated_tokens


def fenced(text: str) -> str:
    """Return a text between fences that are longer than any in it."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{text.rstrip(chr(10))}\n{fence}\n"


def within(text: str, tokens: int) -> str:
    """Return a text cut down to so many tokens."""
    most = len(text)
    while most > 0 and estimated_tokens(shorter := failure.cut(text, most)) > tokens:
        most = min(most - 1, int(most * tokens / max(1, estimated_tokens(shorter))))
    return failure.cut(text, most) if most > 0 else ""
