"""The conditions of playbook steps: comparisons, joined by and, or, not and brackets."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from keruta_agent import errors

_TOKEN: Final = re.compile(
    r"""\s*(?:(?P<sign>==|!=|<=|>=|<|>|\(|\))
    |"(?P<double>[^"]*)"|'(?P<single>[^']*)'
    |(?P<number>-?\d+(?:\.\d+)?(?![\w.]))|(?P<word>[^\W\d][\w.-]*)|(?P<other>\S))""",
    re.VERBOSE,
)
_COMPARISONS: Final[Mapping[str, Callable[[Any, Any], bool]]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<=": operator.le,
    ">=": operator.ge,
    "<": operator.lt,
    ">": operator.gt,
}
_WORDS: Final = {"true": True, "false": False}
_TRUE: Final = frozenset({"true", "yes", "1"})
_FALSE: Final = frozenset({"false", "no", "0", ""})
_JOINING: Final = frozenset({"and", "or", "not"})


def holds(condition: str, values: Mapping[str, Any]) -> bool:
    """Tells whether a condition is true of some values.

    A name that has no value is false by itself, and its own text in a comparison.

    Raises:
        PlaybookExecutionError: the condition makes no sense.
    """
    return _Reader(condition, values).read()


def check(condition: str) -> None:
    """Checks that a condition can be understood.

    Raises:
        PlaybookExecutionError: it cannot.
    """
    holds(condition, {})


class _Name(str):
    """A name without a value."""

    __slots__ = ()


class _Reader:
    def __init__(self, condition: str, values: Mapping[str, Any]) -> None:
        self._condition = condition
        self._values = values
        self._tokens = [
            (str(found.lastgroup), found[found.lastgroup or 0])
            for found in _TOKEN.finditer(condition)
        ]
        self._next = 0

    def read(self) -> bool:
        result = self._either()
        if self._next != len(self._tokens):
            raise self._nonsense()
        return result

    def _either(self) -> bool:
        result = self._both()
        while self._takes("word", "or"):
            # Read first: what is wrong on the right is wrong whatever stands on the left.
            right = self._both()
            result = result or right
        return result

    def _both(self) -> bool:
        result = self._one()
        while self._takes("word", "and"):
            right = self._one()
            result = result and right
        return result

    def _one(self) -> bool:
        if self._takes("word", "not"):
            return not self._one()
        if self._takes("sign", "("):
            result = self._either()
            if not self._takes("sign", ")"):
                raise self._nonsense()
            return result
        left = self._value()
        for sign, compare in _COMPARISONS.items():
            if self._takes("sign", sign):
                return _compared(left, compare, self._value())
        return _is_true(left)

    def _value(self) -> Any:
        if self._next >= len(self._tokens):
            raise self._nonsense()
        kind, text = self._tokens[self._next]
        if kind in ("sign", "other") or (kind == "word" and text in _JOINING):
            raise self._nonsense()
        self._next += 1
        if kind == "number":
            return float(text)
        if kind != "word":
            return text
        return _WORDS.get(text, self._values.get(text, _Name(text)))

    def _takes(self, kind: str, text: str) -> bool:
        is_next = self._next < len(self._tokens) and self._tokens[self._next] == (kind, text)
        self._next += is_next
        return is_next

    def _nonsense(self) -> errors.PlaybookExecutionError:
        return errors.PlaybookExecutionError(
            f"The condition {self._condition!r} makes no sense",
            advice="Write comparisons such as a == 1, joined by and, or, not and brackets",
        )


def _is_true(value: Any) -> bool:
    if isinstance(value, _Name):
        return False
    return value.strip().lower() in _TRUE if isinstance(value, str) else bool(value)


def _compared(left: Any, compare: Callable[[Any, Any], bool], right: Any) -> bool:
    """Compares as truths when one is a truth, as numbers when both are, else as text."""
    if isinstance(left, bool) or isinstance(right, bool):
        truths = _truth(left), _truth(right)
        if None not in truths:
            return compare(*truths)
    numbers = _number(left), _number(right)
    if None not in numbers:
        return compare(*numbers)
    return compare(_text(left), _text(right))


def _truth(value: Any) -> bool | None:
    text = _text(value).strip().lower()
    return True if text in _TRUE else False if text in _FALSE else None


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or value is None:
        return None
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return "" if value is None else str(value)
