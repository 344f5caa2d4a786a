"""What came of the demo's tasks, held against what should have."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence

import click

from keruta_agent.cli.tables import duration, print_table
from keruta_agent.model import Task, TaskStatus


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wanted:
    """What must come of a task."""

    status: TaskStatus = TaskStatus.COMPLETED
    #: Whether an auto-fix task has to be filed, and to succeed.
    is_fixed: bool = False
    #: All files that must be stored.
    artifacts: tuple[str, ...] = ()
    #: The least number of lines in its log.
    log_lines: int
    #: What must stand in its message.
    reason: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskOutcome:
    """What came of a task, as the API tells it."""

    name: str
    status: TaskStatus
    reason: str
    run_time_s: float | None
    log_lines: int
    artifacts: tuple[str, ...]
    #: Name of the failed task that it repairs.
    auto_fix_of: str | None


def has_ended(tasks: Sequence[Task], wanted: Mapping[str, Wanted]) -> bool:
    """Tells whether all tasks have ended, with the auto-fix tasks that are to come."""
    if not all(task.status.is_terminal for task in tasks):
        return False
    fixed = {task.parent_task_id for task in tasks}
    return all(
        task.id in fixed
        for task in tasks
        if task.status is TaskStatus.FAILED and task.name in wanted and wanted[task.name].is_fixed
    )


def complaints(outcomes: Sequence[TaskOutcome], wanted: Mapping[str, Wanted]) -> list[str]:
    """Returns what is not as it should be, a sentence each."""
    found = []
    for outcome in outcomes:
        if outcome.auto_fix_of is not None:
            if outcome.status is not TaskStatus.COMPLETED:
                found.append(f"the auto-fix of {outcome.auto_fix_of} is {outcome.status.value}")
            continue
        rule = wanted[outcome.name]
        if outcome.status is not rule.status:
            found.append(f"{outcome.name} is {outcome.status.value}, not {rule.status.value}")
        if rule.is_fixed and outcome.name not in {other.auto_fix_of for other in outcomes}:
            found.append(f"{outcome.name} got no auto-fix task")
        if sorted(outcome.artifacts) != sorted(rule.artifacts):
            stored = ", ".join(outcome.artifacts) or "none"
            found.append(
                f"the artifacts of {outcome.name} are {stored}; "
                f"they should be {', '.join(rule.artifacts) or 'none'}"
            )
        if rule.reason not in outcome.reason:
            found.append(f"{outcome.name} does not say {rule.reason!r}: {outcome.reason}")
        if outcome.log_lines < rule.log_lines:
            found.append(
                f"the log of {outcome.name} has {outcome.log_lines} of {rule.log_lines} lines"
            )
    missing = set(wanted) - {outcome.name for outcome in outcomes}
    return found + [f"{name} is missing" for name in sorted(missing)]


def print_outcome(outcomes: Sequence[TaskOutcome], found: Sequence[str]) -> None:
    """Prints the table, then what it proves, or what is wrong."""
    click.echo()
    print_table(
        ("TASK", "STATE", "TIME", "LOG LINES", "ARTIFACTS", "AUTO-FIX OF", "REASON"),
        [
            (
                outcome.name,
                outcome.status.value,
                "-" if outcome.run_time_s is None else duration(outcome.run_time_s),
                str(outcome.log_lines),
                str(len(outcome.artifacts)),
                outcome.auto_fix_of or "-",
                outcome.reason.partition("\n")[0][:60],
            )
            for outcome in outcomes
        ],
    )
    click.echo()
    for complaint in found:
        click.echo(f"keruta: not as expected: {complaint}", err=True)
    if not found:
        fixes = sum(outcome.auto_fix_of is not None for outcome in outcomes)
        lines = sum(outcome.log_lines for outcome in outcomes)
        artifacts = sum(len(outcome.artifacts) for outcome in outcomes)
        click.echo(
            f"As expected: {len(outcomes)} tasks ran, {fixes} of them to fix a failed one; "
            f"{lines:,} log lines and {artifacts} artifacts arrived."
        )
