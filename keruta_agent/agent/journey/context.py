"""One run as the stages of its journey see it, from the claim to its end."""

from __future__ import annotations

from keruta_agent.agent.journey.agent import Agent
from keruta_agent.agent.journey.run_log import RunLog
from keruta_agent.agent.run.directory import RunDirectory
from keruta_agent.agent.store.artifacts import Owner
from keruta_agent.agent.store.jobs import Job, StopKind
from keruta_agent.agent.store.run import Run
from keruta_agent.agent.store.store import Records
from keruta_agent.core.redaction.redactor import Redactor
from keruta_agent.core.settings.schema import Settings


class JobStoppedError(Exception):
    """The API does not want the job run, or somebody cancelled it before its script started."""

    def __init__(self, kind: StopKind, reason: str) -> None:
        super().__init__(reason)
        self.kind = kind


class RunContext:
    """One run: its agent, its records, its directory, its log.

    ``job`` and ``run`` are the records as they were last read. Other threads change them: they
    stop the job, and store what the script reports. Refresh before deciding by what may have
    changed. Only the thread that brings the run to its end uses its context.
    """

    def __init__(self, agent: Agent, job: Job, run: Run) -> None:
        self.agent = agent
        self.job = job
        self.run = run

    @classmethod
    def of_active(cls, agent: Agent) -> RunContext | None:
        """Return the context of the run that has not ended, None when there is none."""
        active = agent.records.runs.active()
        return None if active is None else cls(agent, *active)

    @property
    def settings(self) -> Settings:
        """The settings of the agent."""
        return self.agent.settings

    @property
    def records(self) -> Records:
        """The records of the agent."""
        return self.agent.records

    @property
    def directory(self) -> RunDirectory:
        """The run directory; its name changes when it is renewed."""
        return self.agent.directory_of(self.run)

    @property
    def redactor(self) -> Redactor:
        """The redactor for what the run wrote; a script may name more secrets at any time."""
        return self.agent.redaction.of_run(self.run.id)

    @property
    def owner(self) -> Owner:
        """Whose artifacts the run's are."""
        return Owner.of_run(self.job, self.run)

    @property
    def log(self) -> RunLog:
        """The agent's own lines in the run's log."""
        return RunLog(
            directory=self.directory,
            redaction=self.agent.redaction,
            job_id=self.job.id,
            run_id=self.run.id,
            run_uid=self.run.uid,
        )

    def refresh(self) -> None:
        """Read the records of the job and the run again."""
        self.job, self.run = self.records.runs.with_job(self.run.id)

    def enter(self, stage: str) -> None:
        """Store which stage begins: an agent that dies in it must not retry for ever."""
        self.records.runs.enter(self.run.id, stage)
        self.refresh()

    def stop_error(self) -> JobStoppedError:
        """Return the error of a run that is to stop, for the reason that the records hold now."""
        self.refresh()
        kind = self.job.stop_kind or StopKind.AGENT_STOPPED
        return JobStoppedError(kind, self.job.stop_reason or "")

    def raise_if_stopped(self) -> None:
        """Read the records again, and continue unless the job is to stop.

        Raises:
            JobStoppedError: somebody does.
        """
        self.refresh()
        if self.job.stop_kind is not None:
            raise self.stop_error()
