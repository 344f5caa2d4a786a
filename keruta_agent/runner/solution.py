"""What is known of one task while a model solves it, from round to round."""

from __future__ import annotations

import dataclasses
from pathlib import PurePosixPath

from keruta_agent.core import errors
from keruta_agent.core.coding.model import CodeChange, TaskContext, Workspace
from keruta_agent.runner.changes import difference, edits
from keruta_agent.runner.changes.permission import PermissionValidator
from keruta_agent.runner.changes.tree import Tree
from keruta_agent.runner.checks import failure
from keruta_agent.runner.exploration.explorer import Explorer


@dataclasses.dataclass(kw_only=True)
class Solution:
    """What is known of one task while it is solved."""

    context: TaskContext
    workspace: Workspace
    tree: Tree
    permissions: PermissionValidator
    explorer: Explorer
    round: int = 0
    model: str = ""
    changes: list[CodeChange] = dataclasses.field(default_factory=list)
    #: By file, what it held before the first change and what it holds now.
    files: dict[PurePosixPath, difference.Change] = dataclasses.field(default_factory=dict)
    problem: errors.RunnerError | None = None
    #: Whether the tests passed before any change.
    passes: bool = False
    #: What the next prompt says about it.
    failed: str = ""
    #: How the tests failed last, with the changes that are written.
    tests: str = ""
    _digest: str = ""

    def remember(self, steps: list[edits.Step]) -> None:
        """Note what was written."""
        for step in steps:
            known = self.files.get(step.path)
            before = step.before if known is None else known.before
            self.files[step.path] = difference.Change(before, step.after, step.mode)
        self.explorer.forget_outputs()

    def goes_on_from(self, problem: errors.RunnerError) -> None:
        """Note what is wrong, for the next round.

        Raises:
            RunnerError: it is what was wrong in the round before as well.
        """
        is_failure = isinstance(problem, errors.TestExecutionError)
        digest = failure.digest(problem.message)
        if digest == self._digest:
            if not is_failure and self.tests:
                raise errors.TestExecutionError(
                    f"The tests still fail, and the answer is refused twice in the same way: "
                    f"{problem.message}",
                    advice="Describe the task in more detail, or solve it by hand",
                )
            if not is_failure:
                raise problem
            raise errors.TestExecutionError(
                f"The tests fail twice in the same way: {failure.last_line(problem.message)}",
                advice="Describe the task in more detail, or solve it by hand",
            )
        self.problem, self._digest = problem, digest
        if is_failure:
            self.tests = problem.message
            self.failed = f"Your change was written, and the tests fail:\n{problem.message}"
            return
        self.failed = f"Your answer was refused, and nothing of it was written: {problem}"
        if self.tests:
            self.failed += f"\n\nWith your earlier change the tests still fail:\n{self.tests}"
