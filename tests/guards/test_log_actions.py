"""Every event that the agent logs has an action, and every action is described."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import keruta_agent
from keruta_agent.observe.actions import ACTIONS

SOURCE = Path(keruta_agent.__file__).parent
METHODS = {"info", "warning", "error", "exception", "critical", "log"}


def events() -> Iterator[tuple[str, str | None, str]]:
    """Yields each logged event of INFO and above: its place, its action, and its message."""
    for path in sorted(SOURCE.rglob("*.py")):
        for call in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
                continue
            if ast.unparse(call.func.value) == "logger" and call.func.attr in METHODS:
                place = f"{path.relative_to(SOURCE)}:{call.lineno}"
                message = call.args[1 if call.func.attr == "log" else 0]
                yield place, action_of(call), ast.unparse(message)


def action_of(call: ast.Call) -> str | None:
    """Returns the literal action in a call's ``extra``."""
    extra = next((word.value for word in call.keywords if word.arg == "extra"), None)
    if not isinstance(extra, ast.Dict):
        return None
    for key, value in zip(extra.keys, extra.values, strict=True):
        if isinstance(key, ast.Constant) and key.value == "action":
            return value.value if isinstance(value, ast.Constant) else None
    return None


def test_every_event_has_an_action_that_is_described() -> None:
    found = list(events())
    assert len(found) > 40, "the calls were not found"
    assert [place for place, action, _ in found if action not in ACTIONS] == [], (
        "give each an extra with an action of observe/actions.py"
    )


def test_every_action_is_told_by_something() -> None:
    assert set(ACTIONS) == {action for _, action, _ in events()}


def test_no_message_is_put_together_before_it_is_logged() -> None:
    """An f-string could hold a percent sign, and two events would never look alike."""
    assert [place for place, _, message in events() if message.startswith(("f'", 'f"'))] == []
