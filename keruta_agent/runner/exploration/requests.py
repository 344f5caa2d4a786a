"""What a model may ask to see before it changes anything, as it writes it down.

Nothing here refuses: a malformed request is answered with the reason, like one that is not allowed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from keruta_agent.core.coding.model import LookRequest

READ, SEARCH, LIST, RUN = ACTIONS = ("read", "search", "list", "run")
#: Requests of one answer that are answered, and that are looked at.
MOST: Final = 10
_MOST_SEEN: Final = 100
#: Characters of each field that are kept.
_LONGEST: Final = 4000

SHAPE: Final = (
    '{"requests": [{"action": "read", "path": "...", "lines": "1-80"}, '
    '{"action": "search", "pattern": "...", "path": ""}, '
    '{"action": "list", "path": "..."}, {"action": "run", "command": "..."}], "code_changes": [], '
    '"explanation": "..."}'
)
#: The fields of each action, in the words of its description.
FIELDS: Final[Mapping[str, Mapping[str, str]]] = {
    READ: {"path": "a file", "lines": "such as 1-80; empty: all"},
    SEARCH: {
        "pattern": "a regular expression of Python, for one line",
        "path": "a file or directory; empty: everywhere",
    },
    LIST: {"path": "a directory; empty: the top"},
    RUN: {"command": "one of the test commands, as it is given"},
}
_LINES: Final = re.compile(r"\s*(\d{1,9})\s*(?:[-:,–]\s*(\d{1,9})\s*)?")


def item_schema() -> dict[str, Any]:
    """Return the schema of one request, for servers that can hold a model to a form."""
    return {
        "anyOf": [
            {
                "type": "object",
                "properties": {
                    "action": {"type": "string", "enum": [action]},
                    **{name: {"type": "string"} for name in fields},
                },
                "required": ["action", *fields],
                "additionalProperties": False,
            }
            for action, fields in FIELDS.items()
        ]
    }


def tools() -> list[dict[str, Any]]:
    """Return the actions as functions that a model may call."""
    return [
        {
            "type": "function",
            "function": {
                "name": action,
                "description": f"Answers {action} requests: see the prompt.",
                "parameters": {
                    "type": "object",
                    "properties": {
                        name: {"type": "string", "description": said}
                        for name, said in fields.items()
                    },
                },
            },
        }
        for action, fields in FIELDS.items()
    ]


def of_calls(calls: Sequence[tuple[str, str]]) -> list[LookRequest]:
    """Return the requests that called functions stand for; none where others were called, too."""
    if not all(name in ACTIONS for name, _ in calls):
        return []
    return of([{**_arguments(arguments), "action": name} for name, arguments in calls])


def _arguments(text: str) -> Mapping[str, Any]:
    try:
        given = json.loads(text or "{}")
    except (ValueError, RecursionError):
        return {}
    return given if isinstance(given, dict) else {}


def of(items: Sequence[Any]) -> list[LookRequest]:
    """Return the requests of an answer."""
    return [_request(item) for item in items[:_MOST_SEEN]]


def _request(item: Any) -> LookRequest:
    if not isinstance(item, Mapping):
        return LookRequest(action=str(item)[:80])
    first, last = _lines(item.get("lines"))
    return LookRequest(
        action=_text(item.get("action")),
        path=_text(item.get("path")),
        first_line=first,
        last_line=last,
        pattern=_text(item.get("pattern")),
        command=_text(item.get("command")),
    )


def _text(value: Any) -> str:
    text = value if isinstance(value, str) else ""
    return text[:_LONGEST].encode("utf-8", "replace").decode()


def _lines(value: Any) -> tuple[int, int]:
    """Return the first and the last line that is meant; 0, 0 for all of them."""
    if isinstance(value, list):
        value = "-".join(map(str, value[:2]))
    match = _LINES.fullmatch(str(value)[:40]) if isinstance(value, str | int) else None
    if match is None:
        return 0, 0
    first = int(match[1])
    return first, int(match[2]) if match[2] else first


def shown(request: LookRequest) -> str:
    """Return a request in a few words."""
    match request.action:
        case "read" if request.first_line:
            text = f"read {request.path} lines {request.first_line}-{request.last_line}"
        case "read" | "list":
            text = f"{request.action} {request.path or '.'}"
        case "search":
            text = f"search {request.pattern!r}{f' in {request.path}' if request.path else ''}"
        case "run":
            text = f"run {request.command}"
        case _:
            text = request.action
    return text if len(text) <= 200 else f"{text[:199]}…"
