"""The comparison of pushed commits with what the tasks have changed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from keruta_agent.soak.evidence.script_record import ScriptRecord
from keruta_agent.soak.load_generator import FiledTask
from keruta_agent.soak.repository import Repository


def complaints(
    repository: Repository,
    pushed: Mapping[str, Sequence[str]],
    task: FiledTask,
    record: ScriptRecord,
    *,
    is_quarantined: bool,
) -> Iterator[str]:
    """Yield what is wrong with the commits of one task."""
    commits = pushed.get(task.id, ())
    wanted = int(task.plan.changes)
    if len(commits) != wanted and not (is_quarantined and len(commits) <= wanted):
        yield f"{task.plan.name}: {len(commits)} commits are at the server, should be {wanted}"
    for commit in commits:
        found = repository.file(commit, f"{task.plan.name}.txt")
        if found != record.changed:
            yield f"{task.plan.name}: commit {commit} has {found!r}, not {record.changed!r}"
