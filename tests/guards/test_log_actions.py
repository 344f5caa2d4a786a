"""Every event that the agent logs has an action, and every action is described."""

from __future__ import annotations

import ast
from functools import cache

from keruta_agent.core.log.actions import ACTIONS
from tests.guards.source import modules_with

METHODS = {"info", "warning", "error", "exception", "critical", "log"}


@cache
def events() -> list[tuple[str, str | None, str]]:
    """Return each logged event of INFO and above: its place, its action, and its message."""
    found = []
    for module, tree in modules_with("logger."):
        for call in ast.walk(tree):
            if (
                isinstance(call, ast.Call)
                and isinstance(call.func, ast.Attribute)
                and isinstance(call.func.value, ast.Name)
                and call.func.value.id == "logger"
                and call.func.attr in METHODS
            ):
                message = call.args[1 if call.func.attr == "log" else 0]
                found.append((f"{module}:{call.lineno}", action_of(call), ast.unparse(message)))
    return found


def action_of(call: ast.Call) -> str | None:
    """Return the literal action in a call's ``extra``."""
    extra = next((word.value for word in call.keywords if word.arg == "extra"), None)
    if not isinstance(extra, ast.Dict):
        return None
    for key, value in zip(extra.keys, extra.values, strict=True):
        if isinstance(key, ast.Constant) and key.value == "action":
            return value.value if isinstance(value, ast.Constant) else None
    return None


def test_every_event_has_an_action_that_is_described() -> None:
    found = events()
    assert len(found) > 40, "the calls were not found"
    assert [place for place, action, _ in found if action not in ACTIONS] == [], (
        "give each an extra with an action of observe/actions.py"
    )


def test_every_action_is_logged_somewhere() -> None:
    assert set(ACTIONS) == {action for _, action, _ in events()}


def test_no_message_is_put_together_before_it_is_logged() -> None:
    """An f-string could hold a percent sign, and two events would never look alike."""
    assert [place for place, _, message in events() if message.startswith(("f'", 'f"'))] == []
