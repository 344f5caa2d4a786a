"""The one line that a failure becomes."""

from __future__ import annotations

import pytest

from keruta_agent.core import errors


@pytest.mark.parametrize(
    ("message", "line"),
    [
        ("no answer", "no answer. Try again"),
        ("is this the API?", "is this the API? Try again"),
        ("It said: no.", "It said: no. Try again"),
    ],
)
def test_message_and_advice_are_sentences(message: str, line: str) -> None:
    assert str(errors.KerutaError(message, advice="Try again")) == line
    assert str(errors.KerutaError(message)) == message
