"""A model's answer, made into changes: strict about what it says, tolerant about how it is wrapped.

Models put JSON into fences, talk before and after it, think aloud, or leave the outer object away.
What cannot be understood is explained in words that the model itself can act upon.
"""

from __future__ import annotations

import bisect
import dataclasses
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from keruta_agent.core.coding.model import CodeChange

OPERATIONS: Final = ("create", "modify", "edit", "delete")
#: Characters of an answer that are read; no honest answer comes near.
LONGEST_ANSWER: Final = 8 * 1024 * 1024
#: Changes that one answer may hold.
MOST_CHANGES: Final = 500
#: Places in prose at which JSON is looked for, and characters that are read for that in all.
_MOST_STARTS: Final = 200
_MOST_READ: Final = 4 * LONGEST_ANSWER

SHAPE: Final = (
    '{"code_changes": [{"file_path": "...", "operation": "create|modify|edit|delete", '
    '"content": "..."}], "explanation": "..."}'
)
#: For servers that can hold a model to a form.
SCHEMA: Final[Mapping[str, Any]] = {
    "type": "object",
    "properties": {
        "code_changes": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {
                    "file_path": {"type": "string"},
                    "operation": {"type": "string", "enum": list(OPERATIONS)},
                    "content": {"type": "string"},
                },
                "required": ["file_path", "operation", "content"],
                "additionalProperties": False,
            },
        },
        "explanation": {"type": "string"},
    },
    "required": ["code_changes", "explanation"],
    "additionalProperties": False,
}

# No pattern here goes over more than a line: one that looks for the end of a block would read a
# hostile answer of many beginnings and no end for hours, and nothing can interrupt it.
# A thought begins a line, as no text inside of JSON does.
_THOUGHT: Final = re.compile(r"(?:^[ \t]*<|<(/))(think|thinking|reasoning)>", re.I | re.M)
_FENCE: Final = re.compile(r"^[ \t]*(`{3,}|~{3,})([^\n`]*)$", re.M)
#: Line breaks and tabs inside of strings are forgiven: what is meant is plain.
_DECODER: Final = json.JSONDecoder(strict=False)


class AnswerError(ValueError):
    """An answer cannot be understood; the text tells the model why."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    """What a model wants to be done."""

    changes: list[CodeChange]
    explanation: str


def parse(text: str) -> Answer:
    """Return what an answer says.

    Raises:
        AnswerError: there is no JSON in it, or it does not have the form.
    """
    if len(text) > LONGEST_ANSWER:
        raise AnswerError(f"it is longer than {LONGEST_ANSWER} characters")
    text = _without_thoughts(text).strip()
    if not text:
        raise AnswerError("it is empty")
    complaint: AnswerError | None = None
    for value in _values(text):
        try:
            return _read(value)
        except AnswerError as error:
            complaint = complaint or error
    raise complaint or AnswerError(f"there is no complete JSON object in it: {_syntax(text)}")


def _values(text: str) -> Iterator[Any]:
    """Yield the JSON values in a text, the likeliest first."""
    whole = _whole(text)
    if whole is not None:
        yield whole
        return
    for block in _fenced(text):
        fenced = _whole(block.strip())
        if fenced is not None:
            yield fenced
    yield from _embedded(text)


def _without_thoughts(text: str) -> str:
    """Return a text without what a model has thought aloud before it answered."""
    kept: list[str] = []
    end, opened = 0, None
    for tag in _THOUGHT.finditer(text):
        if opened is None and not tag[1]:
            opened = tag
        elif opened is not None and tag[1] and tag[2].lower() == opened[2].lower():
            kept.append(text[end : opened.start()])
            end, opened = tag.end(), None
    return "".join([*kept, text[end:]])


def _fenced(text: str) -> Iterator[str]:
    """Yield the text between two equal fences."""
    fences = list(_FENCE.finditer(text))
    ends: dict[str, list[int]] = {}
    for number, fence in enumerate(fences):
        if not fence[2].strip():
            ends.setdefault(fence[1], []).append(number)
    after = 0
    for number, fence in enumerate(fences):
        known = ends.get(fence[1], [])
        place = bisect.bisect_right(known, number)
        if number >= after and place < len(known):
            after = known[place] + 1
            yield text[fence.end() : fences[known[place]].start()]


def _whole(text: str) -> Any:
    try:
        value, end = _DECODER.raw_decode(text)
    except (ValueError, RecursionError):
        return None
    return value if not text[end:].strip() else None


def _embedded(text: str) -> Iterator[Any]:
    position = 0
    for _ in range(max(1, min(_MOST_STARTS, _MOST_READ // len(text)))):
        start = re.compile(r"[\[{]").search(text, position)
        if start is None:
            return
        try:
            value, position = _DECODER.raw_decode(text, start.start())
        except (ValueError, RecursionError):
            position = start.end()
            continue
        if _is_meant(value, text):
            yield value


def _is_meant(value: Any, text: str) -> bool:
    """Return whether an answer is whole, and not the complete part of one that was cut off."""
    if isinstance(value, dict):
        return "code_changes" in value
    are_changes = bool(value) and all(isinstance(item, dict) for item in value)
    return are_changes and "code_changes" not in text


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


def _read(value: Any) -> Answer:
    if isinstance(value, list):
        value = {"code_changes": value}
    if isinstance(value, dict) and "code_changes" not in value and "file_path" in value:
        value = {"code_changes": [value]}
    if not isinstance(value, dict):
        raise AnswerError("the JSON is no object")
    if "code_changes" not in value:
        raise AnswerError("the object has no key code_changes")
    items = value["code_changes"]
    if not isinstance(items, list):
        raise AnswerError("code_changes is no list")
    if len(items) > MOST_CHANGES:
        raise AnswerError(f"code_changes has {len(items)} entries; {MOST_CHANGES} are allowed")
    explanation = value.get("explanation") or ""
    return Answer(
        changes=[_change(item, number) for number, item in enumerate(items, 1)],
        explanation=explanation if isinstance(explanation, str) else json.dumps(explanation),
    )


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
