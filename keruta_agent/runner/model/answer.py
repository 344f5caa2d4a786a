"""A model's answer, made into changes: strict about what it says, tolerant about how it is wrapped.

Models put JSON into fences, talk before and after it, think aloud, or leave the outer object away.
What cannot be understood, or can be in two ways, is explained in words that the model itself can
act upon.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from keruta_agent.core.coding.model import CodeChange, LookRequest
from keruta_agent.runner.exploration import requests
from keruta_agent.runner.model import thoughts
from keruta_agent.runner.model.thoughts import Span

OPERATIONS: Final = ("create", "modify", "edit", "delete")
#: Characters of an answer that are read; no honest answer comes near.
LONGEST_ANSWER: Final = 8 * 1024 * 1024
#: Changes that one answer may hold.
MOST_CHANGES: Final = 500
#: Characters that are read in all to find JSON in prose, and those that take about as long as any
#: attempt, and as one that is nested too deeply.
_MOST_READ: Final = 4 * LONGEST_ANSWER
_ATTEMPT: Final = 1000
_DEEP: Final = 150_000
#: Characters around a value that may hold its fence.
_FENCE_LENGTH: Final = 200

SHAPE: Final = (
    '{"code_changes": [{"file_path": "...", "operation": "create|modify|edit|delete", '
    '"content": "..."}], "explanation": "..."}'
)


def schema(*, may_ask: bool = False) -> dict[str, Any]:
    """Return the form of an answer, for servers that can hold a model to one."""
    change = {
        "type": "object",
        "properties": {
            "file_path": {"type": "string"},
            "operation": {"type": "string", "enum": list(OPERATIONS)},
            "content": {"type": "string"},
        },
        "required": ["file_path", "operation", "content"],
        "additionalProperties": False,
    }
    properties: dict[str, Any] = {"code_changes": {"type": "array", "items": change}}
    if may_ask:
        properties["requests"] = {"type": "array", "items": requests.item_schema()}
    properties["explanation"] = {"type": "string"}
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


#: Where JSON may begin that is meant.
_START: Final = re.compile(r'\{\s*"|\[\s*\{')
#: The line of a fence above a value, and below it.
_ABOVE: Final = re.compile(r"(?:^|\n)[ \t]*(?:`{3,}|~{3,})[^\n`]*\s*\Z")
_BELOW: Final = re.compile(r"\s*(?:`{3,}|~{3,})")
#: Line breaks and tabs inside of strings are forgiven: what is meant is plain.
_DECODER: Final = json.JSONDecoder(strict=False)


class AnswerError(ValueError):
    """An answer cannot be understood; the text tells the model why."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """What a model wants to be done."""

    changes: list[CodeChange]
    explanation: str
    #: What it asks to see first; then there are no changes.
    requests: list[LookRequest] = dataclasses.field(default_factory=list)

    def is_like(self, other: Answer) -> bool:
        """Return whether both want the same."""
        return (self.changes, self.requests) == (other.changes, other.requests)


@dataclasses.dataclass(frozen=True)
class _Value:
    """A JSON value in a text."""

    value: Any
    span: Span


def parse(text: str, *, is_cut_off: bool = False, may_ask: bool = False) -> Answer:
    """Return what an answer says.

    The whole text is tried first. In any other, thoughts do not count, and what is left has to
    hold one answer: of several that differ none is chosen. ``is_cut_off`` is for a text that the
    limit of its length has ended: what it holds is taken only if nothing comes after it. With
    ``may_ask`` it may ask to see more instead of changing anything.

    Raises:
        AnswerError: there is no JSON in it, it does not have the form, or it is ambiguous.
    """
    if len(text) > LONGEST_ANSWER:
        raise AnswerError(f"it is longer than {LONGEST_ANSWER} characters")
    text = text.strip()
    if not text:
        raise AnswerError("it is empty")
    whole = _whole(text)
    if whole is not None:
        return _read(whole, may_ask=may_ask)
    return _one_of(text, is_cut_off=is_cut_off, may_ask=may_ask)


def _one_of(text: str, *, is_cut_off: bool, may_ask: bool) -> Answer:
    """Return the one answer that a text holds beside other things."""
    values = list(_embedded(text))
    thought = thoughts.find(text, [value.span for value in values])
    answers = list(_answers(values, text, may_ask=may_ask))
    meant = [value for value in answers if not thought.hold(value.span)]
    if not meant:
        if answers:
            raise AnswerError("it holds JSON in its thoughts only, and none after them")
        raise AnswerError(f"there is no complete JSON object in it: {_syntax(text)}")
    answer = _read(meant[-1].value, may_ask=may_ask)
    rest = text[meant[-1].span[1] :]
    if "code_changes" in rest:
        raise AnswerError("after the JSON object it holds another one, which is not complete")
    if not all(map(answer.is_like, _valid(meant[:-1], may_ask=may_ask))):
        raise AnswerError("it holds several answers that differ: give the final one alone")
    is_last = not _BELOW.sub("", rest, count=1).strip()
    if not is_last and is_cut_off:
        raise AnswerError("it was cut off after the JSON object")
    if not is_last and thought.open_at is not None and thought.open_at < meant[-1].span[0]:
        raise AnswerError("its thoughts have no end: give the JSON object after them")
    return answer


def _valid(values: Sequence[_Value], *, may_ask: bool) -> Iterator[Answer]:
    for value in values:
        with contextlib.suppress(AnswerError):
            yield _read(value.value, may_ask=may_ask)


def _whole(text: str) -> Any:
    try:
        value, end = _DECODER.raw_decode(text)
    except (ValueError, RecursionError):
        return None
    return value if not text[end:].strip() else None


def _embedded(text: str) -> Iterator[_Value]:
    """Yield the objects and lists in a text, none of them inside of another."""
    position, left = 0, _MOST_READ
    while left > 0 and (start := _START.search(text, position)) is not None:
        begin = start.start()
        try:
            value, position = _DECODER.raw_decode(text, begin)
        except json.JSONDecodeError as error:
            # Where a string has no end, the decoder has looked for it in all of the text; and to
            # make the error it has counted the lines before.
            is_open = error.msg.startswith("Unterminated")
            left -= (len(text) if is_open else error.pos) - begin + error.pos // 16 + _ATTEMPT
            position = begin + 1
        except (ValueError, RecursionError):
            left -= _DEEP
            position = begin + 1
        else:
            left -= position - begin + _ATTEMPT
            yield _Value(value, (begin, position))


def _answers(values: Sequence[_Value], text: str, *, may_ask: bool) -> Iterator[_Value]:
    """Yield the values that are answers, and not the complete part of one that was cut off."""
    has_key = "code_changes" in text
    for found in values:
        value = found.value
        if may_ask and isinstance(value, dict) and isinstance(value.get("requests"), list):
            is_meant = True
        elif isinstance(value, dict) and has_key:
            is_meant = "code_changes" in value
        elif isinstance(value, dict):
            is_meant = "file_path" in value and _is_fenced(found.span, text)
        else:
            is_meant = not has_key and all(
                isinstance(item, dict) and "file_path" in item for item in value
            )
        if is_meant:
            yield found


def _is_fenced(span: Span, text: str) -> bool:
    """Return whether a value fills what is between two fences."""
    above = text[max(0, span[0] - _FENCE_LENGTH) : span[0]]
    below = text[span[1] : span[1] + _FENCE_LENGTH]
    return _ABOVE.search(above) is not None and _BELOW.match(below) is not None


def _syntax(text: str) -> str:
    start = text.find("{")
    if start < 0:
        return "it holds no brace"
    try:
        _DECODER.raw_decode(text, start)
    except RecursionError:
        return "it is nested too deeply"
    except ValueError as error:
        return str(error)
    return "it is something else"


def _read(value: Any, *, may_ask: bool = False) -> Answer:
    if isinstance(value, list):
        value = {"code_changes": value}
    if isinstance(value, dict) and "code_changes" not in value and "file_path" in value:
        value = {"code_changes": [value]}
    if not isinstance(value, dict):
        raise AnswerError("the JSON is no object")
    asked = _asked(value) if may_ask else []
    if "code_changes" not in value and not asked:
        more = ": nothing more can be asked for" if "requests" in value else ""
        raise AnswerError(f"the object has no key code_changes{more}")
    items = value.get("code_changes", [])
    if not isinstance(items, list):
        raise AnswerError("code_changes is no list")
    if items and asked:
        raise AnswerError("it holds both requests and code_changes: ask first, and change then")
    if len(items) > MOST_CHANGES:
        raise AnswerError(f"code_changes has {len(items)} entries; {MOST_CHANGES} are allowed")
    explanation = value.get("explanation") or ""
    return Answer(
        changes=[_change(item, number) for number, item in enumerate(items, 1)],
        explanation=explanation if isinstance(explanation, str) else json.dumps(explanation),
        requests=asked,
    )


def _asked(value: Mapping[str, Any]) -> list[LookRequest]:
    items = value.get("requests") or []
    if not isinstance(items, list):
        raise AnswerError("requests is no list")
    return requests.of(items)


def _change(item: Any, number: int) -> CodeChange:
    where = f"entry {number} of code_changes"
    if not isinstance(item, dict):
        raise AnswerError(f"{where} is no object")
    path, operation, content = (item.get(key) for key in ("file_path", "operation", "content"))
    if not isinstance(path, str) or not path:
        raise AnswerError(f"{where} has no file_path")
    if operation not in OPERATIONS:
        raise AnswerError(
            f"{where} has the operation {str(operation)[:40]!r}; there are {', '.join(OPERATIONS)}"
        )
    if content is None and operation == "delete":
        content = ""
    if not isinstance(content, str):
        raise AnswerError(f"the content of {where} is no text")
    return CodeChange(file_path=path, operation=operation, content=content)
