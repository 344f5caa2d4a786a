"""The records of a soak's agents, each in a database of its own."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path

from keruta_agent.agent.run.directory import RUNS_DIRECTORY
from keruta_agent.agent.store.store import Records
from keruta_agent.soak.daemon import Daemon


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecordedRun:
    """A run, and where its output was captured."""

    number: int
    directory: Path


@dataclasses.dataclass(frozen=True, kw_only=True)
class AgentRecords:
    """The database of one agent, and where it is."""

    base_dir: Path
    records: Records

    def runs_of(self, task_id: str) -> list[RecordedRun]:
        """Return the runs of a task that were its agent's to begin, oldest first."""
        job = self.records.jobs.by_task(task_id)
        runs = [] if job is None else self.records.runs.of_job(job.id)
        top = self.base_dir / RUNS_DIRECTORY
        return [
            RecordedRun(number=run.number, directory=top / run.directory)
            for run in runs
            if run.is_owned
        ]

    def failures_at(self, task_id: str) -> int:
        """Return how often the agent itself failed at a task."""
        job = self.records.jobs.by_task(task_id)
        events = [] if job is None else self.records.journal.of_job(job.id)
        return sum(event.action == "agent_failed" for event in events)


@contextlib.contextmanager
def open_records(agents: Sequence[Daemon]) -> Iterator[list[AgentRecords]]:
    """Open the records of those agents that have any."""
    with contextlib.ExitStack() as stack:
        found = []
        for agent in agents:
            records = Records.open_existing(agent.base_dir)
            if records is not None:
                stack.callback(records.close)
                found.append(AgentRecords(base_dir=agent.base_dir, records=records))
        yield found
