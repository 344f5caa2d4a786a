"""The agent as commands see it: the running one, or its records while no daemon runs."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, Self

from keruta_agent.agent.journey.agent import Agent
from keruta_agent.agent.ports import KerutaApi, WorkQueue
from keruta_agent.agent.store.jobs import JobState, StopKind
from keruta_agent.agent.store.store import Records
from keruta_agent.core import errors


class _NoQueue:
    """The work queue while no daemon runs: the next one reads the records when it starts."""

    def jobs_runnable(self) -> None:
        return

    def job_failed(self, job_id: int) -> None:
        return

    def outbox_filled(self) -> None:
        return

    def poll_now(self) -> None:
        return


@dataclasses.dataclass(frozen=True, kw_only=True)
class Control:
    """What the handlers of commands work with."""

    records: Records
    queue: WorkQueue
    #: Stops a job for a reason; returns its state before, None when there is no such job.
    cancel_job: Callable[[int, str], JobState | None]
    #: Returns the API, or raises ``SettingsError`` when none is configured.
    api: Callable[[], KerutaApi]
    #: Returns what the daemon does at the moment.
    status: Callable[[], Mapping[str, Any]]
    #: Whether new jobs are taken; an agent with one job in the foreground takes none.
    takes_jobs: bool = True
    #: None while no daemon runs.
    agent: Agent | None = None

    @classmethod
    def of_agent(
        cls, agent: Agent, status: Callable[[], Mapping[str, Any]], *, takes_jobs: bool = True
    ) -> Self:
        """Return the control of a running agent."""
        return cls(
            records=agent.records,
            queue=agent.queue,
            cancel_job=lambda job, reason: agent.stops.request(job, StopKind.CANCELLED, reason),
            api=lambda: _configured(agent.api),
            status=status,
            takes_jobs=takes_jobs,
            agent=agent,
        )

    @classmethod
    def of_records(cls, records: Records, api: Callable[[], KerutaApi]) -> Self:
        """Return the control of an agent that does not run."""
        return cls(
            records=records,
            queue=_NoQueue(),
            cancel_job=records.runs.cancel_job,
            api=api,
            status=dict,
        )

    @property
    def running(self) -> Agent:
        """The running agent.

        Raises:
            AgentUnreachable: no daemon runs.
        """
        if self.agent is None:
            raise errors.AgentUnreachable("no keruta daemon runs")
        return self.agent


def _configured(api: KerutaApi | None) -> KerutaApi:
    if api is None:
        raise errors.SettingsError(
            "the agent has no API that knows the task",
            advice="Set KERUTA_API_URL, and start the daemon again",
        )
    return api
