"""A list of PENDING tasks, of which most are known: all in brief, each whole when it is wanted."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from datetime import datetime
from typing import Any, NamedTuple, Self

from keruta_agent.core.model import Task, turn_of


class Brief(NamedTuple):
    """What a task that is known already is asked for, and where the rest of it is."""

    id: str
    priority: int
    #: Id of the agent that has claimed it.
    claimed_by: str | None
    #: What the list's reader makes the whole task of.
    source: Any


class PendingTasks:
    """The PENDING tasks of one list."""

    def __init__(
        self,
        briefs: Sequence[Brief],
        *,
        read: Callable[[Any], Task | None],
        created_at: Callable[[Any], datetime | None],
    ) -> None:
        """Take the tasks in the order in which the server lists them: the newest first.

        Args:
            briefs: the tasks in brief.
            read: makes the task of a source, None when it cannot be read.
            created_at: returns when the task of a source was created.
        """
        self.briefs = briefs
        self._read = read
        self._created_at = created_at

    @classmethod
    def of(cls, tasks: Iterable[Task]) -> Self:
        """Return a list of tasks that are whole, the newest first."""
        return cls(
            [Brief(task.id, task.priority, task.claimed_by, task) for task in tasks],
            read=lambda task: task,
            created_at=lambda task: task.created_at,
        )

    def read(self, ids: Container[str]) -> Iterator[Task]:
        """Yield the tasks with these ids in the order in which they run, each when it is its turn.

        By priority, then age. The oldest dateless one is the last of the list, because servers
        list the newest first.
        """
        chosen = [
            (turn_of(brief.priority, self._created_at(brief.source)), brief.source)
            for brief in reversed(self.briefs)
            if brief.id in ids
        ]
        chosen.sort(key=lambda each: each[0])
        for _, source in chosen:
            task = self._read(source)
            if task is not None:
                yield task

    def __iter__(self) -> Iterator[Task]:
        """Yield all tasks in the order in which they run."""
        return self.read({brief.id for brief in self.briefs})
