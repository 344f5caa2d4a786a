"""The conditions of playbook steps: comparisons, joined by and, or, not and brackets.

Python's parser reads their structure. It never sees a word or a text of the condition, each of
which is an operand by its number, and only a few kinds of nodes are accepted of what it returns.
"""

from __future__ import annotations

import ast
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from keruta_agent.core import errors

_TOKEN: Final = re.compile(
    r"""\s*(?:(?P<sign>==|!=|<=|>=|<|>|\(|\))
    |"(?P<double>[^"]*)"|'(?P<single>[^']*)'
    |(?P<number>-?\d+(?:\.\d+)?(?![\w.]))|(?P<word>[^\W\d][\w.-]*)|(?P<other>\S))""",
    re.VERBOSE,
)
_COMPARISONS: Final[Mapping[type[ast.cmpop], Callable[[Any, Any], bool]]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.LtE: operator.le,
    ast.GtE: operator.ge,
    ast.Lt: operator.lt,
    ast.Gt: operator.gt,
}
_WORDS: Final = {"true": True, "false": False}
_TRUE: Final = frozenset({"true", "yes", "1"})
_FALSE: Final = frozenset({"false", "no", "0", ""})
_JOINING: Final = frozenset({"and", "or", "not"})

#: A playbook comes from a repository: what it may make the parser and the stack do has a limit.
MOST_TOKENS: Final = 500
DEEPEST: Final = 50


def holds(condition: str, values: Mapping[str, Any]) -> bool:
    """Return whether a condition is true of some values.

    A name that has no value is false by itself, and its own text in a comparison.

    Raises:
        PlaybookExecutionError: the condition cannot be understood.
    """
    try:
        source, operands = _read(condition, values)
        return _is_met(ast.parse(source, mode="eval").body, operands)
    except (SyntaxError, ValueError):
        raise errors.PlaybookExecutionError(
            f"The condition {condition!r} cannot be understood",
            advice="Write comparisons such as a == 1, joined by and, or, not and brackets",
        ) from None


def check(condition: str) -> None:
    """Check that a condition can be understood.

    Raises:
        PlaybookExecutionError: it cannot.
    """
    holds(condition, {})


class _Name(str):
    """A name without a value."""

    __slots__ = ()


def _read(condition: str, values: Mapping[str, Any]) -> tuple[str, list[Any]]:
    """Return a condition with numbered operands, and their values.

    Raises:
        ValueError: a character means nothing here, or it is too long.
    """
    parts: list[str] = []
    operands: list[Any] = []
    for found in _TOKEN.finditer(condition):
        kind, text = str(found.lastgroup), found[found.lastgroup or 0]
        if kind == "other" or len(parts) == MOST_TOKENS:
            raise ValueError
        if kind == "sign" or (kind == "word" and text in _JOINING):
            parts.append(text)
            continue
        parts.append(f"_{len(operands)}")
        operands.append(_operand(kind, text, values))
    return " ".join(parts), operands


def _operand(kind: str, text: str, values: Mapping[str, Any]) -> Any:
    if kind == "number":
        return float(text)
    if kind != "word":
        return text
    return _WORDS.get(text, values.get(text, _Name(text)))


def _is_met(node: ast.expr, operands: Sequence[Any], depth: int = 0) -> bool:
    """Return whether a part of a condition holds; every other part is read as well.

    Raises:
        ValueError: it is none that a condition may have, or too deep.
    """
    if depth > DEEPEST:
        raise ValueError
    match node:
        case ast.BoolOp(op=op, values=parts):
            # All of them first: what is wrong on the right is wrong whatever stands on the left.
            met = [_is_met(part, operands, depth + 1) for part in parts]
            return all(met) if isinstance(op, ast.And) else any(met)
        case ast.UnaryOp(op=ast.Not(), operand=part):
            return not _is_met(part, operands, depth + 1)
        case ast.Compare(left=ast.Name(id=left), ops=[op], comparators=[ast.Name(id=right)]):
            compare = _COMPARISONS[type(op)]
            return _compared(_value(left, operands), compare, _value(right, operands))
        case ast.Name(id=name):
            return _is_true(_value(name, operands))
    raise ValueError


def _value(name: str, operands: Sequence[Any]) -> Any:
    return operands[int(name[1:])]


def _is_true(value: Any) -> bool:
    if isinstance(value, _Name):
        return False
    return value.strip().lower() in _TRUE if isinstance(value, str) else bool(value)


def _compared(left: Any, compare: Callable[[Any, Any], bool], right: Any) -> bool:
    """Compare as truths when one is a truth, as numbers when both are, else as text."""
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
