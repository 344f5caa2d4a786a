"""What the routes work with."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Mapping
from typing import Any

from keruta_agent.journey.agent import Agent
from keruta_agent.journey.loglines import LogReader
from keruta_agent.local.orders import Orders
from keruta_agent.observe.redact import Redactor
from keruta_agent.records.changes import Changes
from keruta_agent.records.jobs import Job


@dataclasses.dataclass(frozen=True, kw_only=True)
class Services:
    """One agent, as the HTTP API sees it."""

    agent: Agent
    orders: Orders
    logs: LogReader
    #: The same logs with their colours, for who can show them.
    coloured_logs: LogReader
    changes: Changes
    #: What the daemon does at the moment.
    status: Callable[[], Mapping[str, Any]]
    #: What keeps the daemon from working, by the part that it is about; nothing when it is ready.
    hindrances: Callable[[], Mapping[str, str]]
    #: Set when the API is to end, and every stream with it.
    stopping: threading.Event = dataclasses.field(default_factory=threading.Event)

    @classmethod
    def of(
        cls,
        agent: Agent,
        status: Callable[[], Mapping[str, Any]],
        hindrances: Callable[[], Mapping[str, str]],
    ) -> Services:
        """Returns the services of an agent."""
        read_from = (agent.records.runs, agent.directory_of, agent.redaction)
        return cls(
            agent=agent,
            orders=Orders(agent),
            logs=LogReader(*read_from),
            coloured_logs=LogReader(*read_from, colours=True),
            changes=Changes(agent.records.database),
            status=status,
            hindrances=hindrances,
        )

    def redactor_of(self, job: Job) -> Redactor:
        """Returns the redactor that knows the secrets of a job, too."""
        runs = self.agent.records.runs.of_job(job.id)
        return self.agent.redaction.of_run(runs[-1].id if runs else None)
