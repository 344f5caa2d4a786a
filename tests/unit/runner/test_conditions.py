from __future__ import annotations

import pytest

from keruta_agent import errors
from keruta_agent.runner import conditions

VALUES = {
    "a": True,
    "b": False,
    "text": "true",
    "count": 3,
    "version": "10",
    "空": "値",
    "name": "it",
}


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ("true", True),
        ("false", False),
        ("a", True),
        ("b", False),
        ("text", True),
        ("unknown", False),
        ("not unknown", True),
        ("a == true", True),
        ("text == true", True),
        ("b == false", True),
        ("a == true and text == true", True),
        ("a and b", False),
        ("a or b", True),
        ("not a or b", False),
        ("not (a and b)", True),
        ("b and b or a", True),
        ("b and (b or a)", False),
        ("count >= 3", True),
        ("count > 3", False),
        ("version > 9", True),
        ("version > '9'", True),
        ("name == it", True),
        ("name != 'other'", True),
        ("name == undefined", False),
        ("空 == '値'", True),
        ("count == 3 and version == 10 and not b", True),
        ("-1 < 0", True),
    ],
)
def test_condition_is_evaluated(condition: str, expected: bool) -> None:
    assert conditions.holds(condition, VALUES) is expected


@pytest.mark.parametrize(
    "condition", ["", "and", "a ==", "== a", "(a", "a)", "a b", "a = b", "a && b", "not", "a; b"]
)
def test_nonsense_is_refused(condition: str) -> None:
    with pytest.raises(errors.PlaybookExecutionError, match="makes no sense"):
        conditions.check(condition)
