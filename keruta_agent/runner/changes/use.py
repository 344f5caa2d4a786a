"""Whether planned changes come to anything: what git would not commit is of no use."""

from __future__ import annotations

import dataclasses

from keruta_agent.runner.changes import edits, files
from keruta_agent.runner.changes.tree import Tree
from keruta_agent.runner.checks import failure


def check(steps: list[edits.Step], tree: Tree, failing: str) -> None:
    """Refuse what would pass the tests here and be in no commit.

    ``failing`` is how the tests failed last, with the changes that are written.

    Raises:
        EditError: nothing would be changed, or git would not commit it.
    """
    if not steps and failing:
        raise edits.EditError(
            f"The answer changes nothing, and the tests still fail: {failure.last_line(failing)}"
        )
    if not steps:
        raise edits.EditError("The answer changes nothing")
    if any(step.path.name == ".gitignore" for step in steps):
        return
    lost = files.ignored(tree.root, [str(step.path) for step in steps if step.before is None])
    if lost:
        raise edits.EditError(f"Git ignores {', '.join(lost)[:300]}: it would not be committed")


def check_written(steps: list[edits.Step], tree: Tree) -> None:
    """Take back a change that has git ignore what it makes.

    Raises:
        EditError: it does.
    """
    if not any(step.path.name == ".gitignore" for step in steps):
        return
    lost = files.ignored(tree.root, [str(step.path) for step in steps if step.before is None])
    if lost:
        undoing = [dataclasses.replace(s, before=s.after, after=s.before) for s in steps]
        edits.apply(undoing, tree)
        raise edits.EditError(f"Git would ignore {', '.join(lost)[:300]}: it is not to be hidden")
