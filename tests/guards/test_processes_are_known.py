"""What the long-running programs start is on the list of process_tree/children.py.

A child that is not would be taken for one that a killed shim has left behind, and ended.
"""

from __future__ import annotations

import ast

from tests.guards.source import modules_with

#: Parts that run in a daemon, a server, an agent in the foreground, or a runner.
LONG_RUNNING = (
    *(
        "agent/daemon",
        "agent/journey",
        "agent/delivery",
        "agent/control",
        "agent/queue",
        "agent/store",
        "agent/run",
    ),
    *("agent/api", "agent/workspace", "server", "runner", "git", "http"),
    *("core/coding", "core/log", "core/redaction", "core/settings"),
)
STARTS = {"Popen", "run", "call", "check_call", "check_output", "getoutput", "getstatusoutput"}


def starts_in(tree: ast.AST) -> list[int]:
    return [
        node.lineno
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and isinstance(node.func.value, ast.Name)
        and (
            (node.func.value.id == "subprocess" and node.func.attr in STARTS)
            or (node.func.value.id == "os" and node.func.attr in {"system", "popen"})
        )
    ]


def test_programs_are_started_by_the_list_of_children() -> None:
    found = {
        module: lines
        for module, tree in modules_with("subprocess.", "os.system", "os.popen", parts=LONG_RUNNING)
        if (lines := starts_in(tree))
    }
    assert found == {}, "use OWN.spawn or OWN.run of keruta_agent.core.process_tree.children"
