"""What the routes work with."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

from keruta_agent.agent.control.control import Control
from keruta_agent.agent.control.find import find_job
from keruta_agent.agent.control.http.watch import Watch
from keruta_agent.agent.delivery.loglines import LogReader
from keruta_agent.agent.journey.agent import Agent
from keruta_agent.agent.store.changes import Changes
from keruta_agent.agent.store.jobs import Job
from keruta_agent.core.redaction.redactor import Redactor


@dataclasses.dataclass(frozen=True, kw_only=True)
class Services:
    """One agent, as the HTTP API sees it."""

    agent: Agent
    control: Control
    logs: LogReader
    #: The same logs with their colours, for clients that can show them.
    coloured_logs: LogReader
    changes: Changes
    #: The event streams.
    watch: Watch
    #: What keeps the daemon from working, by the part that it is about; nothing when it is ready.
    hindrances: Callable[[], Mapping[str, str]]

    @classmethod
    def of(cls, control: Control, hindrances: Callable[[], Mapping[str, str]]) -> Services:
        """Return the services of a running agent."""
        agent = control.running
        changes = Changes(agent.records.database)
        read_from = (agent.records.runs, agent.directory_of, agent.redaction)
        return cls(
            agent=agent,
            control=control,
            logs=LogReader(*read_from),
            coloured_logs=LogReader(*read_from, colours=True),
            changes=changes,
            watch=Watch(changes),
            hindrances=hindrances,
        )

    def find_job(self, text: str) -> Job:
        """Return a job by its number or its task's id.

        Raises:
            NotFound: there is none.
        """
        return find_job(self.control.records, text)

    def redactor_of(self, job: Job) -> Redactor:
        """Return the redactor that knows the secrets of a job, too."""
        runs = self.agent.records.runs.of_job(job.id)
        return self.agent.redaction.of_run(runs[-1].id if runs else None)
