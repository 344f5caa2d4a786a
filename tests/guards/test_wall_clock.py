"""Nothing starts, stops or times out by a clock that somebody can set."""

from __future__ import annotations

import ast

from tests.guards.source import modules_with

#: Packages that decide when something happens.
DECIDING = ("journey", "delivery", "store", "run", "queue", "daemon")
WALL_CLOCKS = {"time.time()", "time.time_ns()", "datetime.now(UTC)", "datetime.now()"}
#: How old a run or a job is may be judged by the wall clock: it is about days.
EXCEPTIONS = {"remove_old_runs", "_due"}


def _reads_the_wall_clock(node: ast.AST) -> bool:
    return any(
        isinstance(inner, ast.Call) and ast.unparse(inner) in WALL_CLOCKS
        for inner in ast.walk(node)
    )


def _clock_names(function: ast.FunctionDef) -> set[str]:
    """Return the variables that hold a reading of the wall clock."""
    return {
        ast.unparse(target)
        for node in ast.walk(function)
        if isinstance(node, ast.Assign) and ast.unparse(node.value) in WALL_CLOCKS
        for target in node.targets
    }


def decisions_by_the_wall_clock(tree: ast.AST) -> list[str]:
    """Return the functions that compare, add or subtract readings of the wall clock."""
    found = []
    for function in ast.walk(tree):
        if not isinstance(function, ast.FunctionDef) or function.name in EXCEPTIONS:
            continue
        names = _clock_names(function)
        for node in ast.walk(function):
            if isinstance(node, ast.Compare | ast.BinOp) and (
                _reads_the_wall_clock(node)
                or any(
                    isinstance(inner, ast.Name) and inner.id in names for inner in ast.walk(node)
                )
            ):
                found.append(f"{function.name}:{node.lineno}")
    return found


def test_no_decision_is_made_by_the_wall_clock() -> None:
    found = {
        module: decisions
        for module, tree in modules_with(
            "time.time", "datetime.now", parts=tuple(f"agent/{part}" for part in DECIDING)
        )
        if (decisions := decisions_by_the_wall_clock(tree))
    }
    assert found == {}


def test_guard_sees_such_a_decision() -> None:
    late = "def f(due):\n    now = time.time()\n    return now > due\n"
    direct = "def f(due):\n    return due - time.time()\n"
    harmless = "def f(store):\n    store(time.time())\n"
    seen = [bool(decisions_by_the_wall_clock(ast.parse(text))) for text in (late, direct, harmless)]
    assert seen == [True, True, False]
