"""Everything that the code adds to a job's journal has a sentence in ``keruta explain``."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache

from keruta_agent.cli.explain import SENTENCES
from tests.guards.source import modules_with


def _literal(call: ast.Call) -> str | None:
    first = call.args[0] if call.args else None
    return str(first.value) if isinstance(first, ast.Constant) else None


def _calls_of(tree: ast.AST, name: str) -> Iterator[ast.Call]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            function = node.func
            if (isinstance(function, ast.Attribute) and function.attr == name) or (
                isinstance(function, ast.Name) and function.id == name
            ):
                yield node


def _adds_to_a_journal(call: ast.Call) -> bool:
    owner = call.func.value if isinstance(call.func, ast.Attribute) else None
    return ast.unparse(owner).endswith("journal") if owner is not None else False


@cache
def recorded_events() -> list[tuple[str, set[str], str]]:
    """Return each action that is added anywhere, with the names of its details and the place."""
    found = []
    for module, tree in modules_with("journal.add("):
        for function in ast.walk(tree):
            if not isinstance(function, ast.FunctionDef):
                continue
            for call in _calls_of(function, "add"):
                if not _adds_to_a_journal(call):
                    continue
                action = _literal(call)
                # An action that is handed in is named where the function is called.
                actions = (
                    [_literal(outer) for outer in _calls_of(tree, function.name)]
                    if action is None
                    else [action]
                )
                assert actions and None not in actions, f"{module}:{call.lineno}"
                details = {keyword.arg or "" for keyword in call.keywords}
                found += [(str(name), details, f"{module}:{call.lineno}") for name in actions]
    # The one event that is added for many jobs at once.
    found += [
        ("recorded", {"priority"}, str(module))
        for module, _ in modules_with("journal.add_recorded(")
    ]
    return found


def test_every_action_has_a_sentence_that_its_details_fill() -> None:
    events = recorded_events()
    assert len(events) > 12, "the calls were not found"
    for action, details, place in events:
        assert action in SENTENCES, f"{place}: keruta explain does not know {action!r}"
        sentence = SENTENCES[action]({name: f"<{name}>" for name in details})
        assert sentence[0].isupper() and sentence[-1] in ".>", (place, sentence)


def test_every_sentence_is_used() -> None:
    assert set(SENTENCES) == {action for action, _, _ in recorded_events()}
