from __future__ import annotations

import pytest

from keruta_agent.core import errors
from keruta_agent.runner.checks import conditions

VALUES = {
    "a": True,
    "b": False,
    "text": "true",
    "count": 3,
    "version": "10",
    "空": "値",
    "name": "it",
    "kind": "py3.11",
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
        ("kind == py3.11", True),
        ("kind == 'py3.11' and\n  not (lambda == import)", True),
        ("class", False),
        ("True == a", True),
    ],
)
def test_condition_is_evaluated(condition: str, expected: bool) -> None:
    assert conditions.holds(condition, VALUES) is expected


@pytest.mark.parametrize(
    "condition",
    [
        *("", "and", "a ==", "== a", "(a", "a)", "a b", "a = b", "a && b", "not", "a; b"),
        *("a == b == name", "a == not b", "(a and b) == true", "a) or (b", "()", "a # b", "a\\"),
        *("__import__('os')", "a.b()", "a if b", "[a]", "a + b", '"a', "a, b", "a := b", "{a}"),
    ],
)
def test_what_is_no_condition_is_refused(condition: str) -> None:
    with pytest.raises(errors.PlaybookExecutionError, match="cannot be understood"):
        conditions.check(condition)


@pytest.mark.parametrize(
    "condition", ["(" * 5000 + "a" + ")" * 5000, "not " * 200 + "a", " or ".join("a" * 100_000)]
)
def test_condition_of_any_length_and_depth_is_refused_at_once(condition: str) -> None:
    with pytest.raises(errors.PlaybookExecutionError, match="cannot be understood"):
        conditions.check(condition)


def test_condition_may_be_as_deep_as_anybody_writes() -> None:
    assert conditions.holds("not (" * 20 + "a" + ")" * 20, VALUES)
