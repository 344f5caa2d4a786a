"""What people and programs may have the agent do, whichever of its doors they come through."""

from __future__ import annotations

from keruta_agent import errors
from keruta_agent.journey import resubmit
from keruta_agent.journey.agent import Agent
from keruta_agent.ports import KerutaApi
from keruta_agent.records.jobs import CANCELLED_BY_A_PERSON, Job, JobState, StopKind, Work


class Orders:
    """Takes orders for one agent."""

    def __init__(self, agent: Agent, *, takes_jobs: bool = True) -> None:
        """Takes new jobs only with ``takes_jobs``."""
        self._agent = agent
        self._takes_jobs = takes_jobs

    def find(self, text: str) -> Job:
        """Returns a job by its number or its task's id.

        Raises:
            NotFound: there is none.
        """
        job = self._agent.records.jobs.find(text)
        if job is None:
            raise errors.NotFound(f"there is no job or task {text}")
        return job

    def submit(self, name: str, work: Work, *, priority: int) -> int:
        """Queues an ad-hoc script and returns its job's id.

        Raises:
            AgentBusy: the agent takes no jobs.
        """
        self._refuse_if_busy()
        job_id = self._agent.records.jobs.record_script(name, work, priority=priority)
        self._agent.queue.job_runnable(job_id)
        return job_id

    def submit_task(self, task_id: str) -> int | None:
        """Queues one task of the API and returns its job's id.

        Raises:
            AgentBusy: the agent takes no jobs.
            ApiError: the API did not tell the task.
        """
        self._refuse_if_busy()
        task = self._api().task(task_id)
        job_id = self._agent.records.jobs.record_task(task)
        if job_id is not None:
            self._agent.queue.job_runnable(job_id)
            return job_id
        known = self._agent.records.jobs.by_task(task.id)
        return None if known is None else known.id

    def cancel(self, job_id: int, reason: str = CANCELLED_BY_A_PERSON) -> JobState:
        """Cancels a job and returns the state in which it was.

        Raises:
            NotFound: there is no such job.
        """
        state = self._agent.stops.request(job_id, StopKind.CANCELLED, reason)
        if state is None:
            raise errors.NotFound(f"there is no job {job_id}")
        self._agent.wake_event.wake()
        self._agent.queue.outbox_filled()
        return state

    def retry(self, job: Job) -> resubmit.Resubmission:
        """Has a job that has ended run once more, as a new one.

        Raises:
            WrongState: it has not ended.
            ApiError: it is a task, and the API did not file it again.
        """
        self._refuse_if_busy()
        filed = resubmit.resubmit(self._agent.records.jobs, job, self._api)
        self.look()
        return filed

    def move(self, job: Job, priority: int) -> None:
        """Gives a waiting job another priority.

        Raises:
            WrongState: it does not wait any more.
        """
        resubmit.move(self._agent.records.jobs, job, priority)

    def pause(self, reason: str) -> None:
        """Lets no further job start."""
        self._agent.records.jobs.pause(reason)

    def resume(self) -> None:
        """Lets jobs start again."""
        self._agent.records.jobs.resume()
        self.look()

    def look(self) -> None:
        """Looks at once for what may run: the queue was resumed, or something was filed."""
        for job_id in self._agent.records.jobs.waiting_ids():
            self._agent.queue.job_runnable(job_id)
        self._agent.queue.poll_now()

    def flush(self) -> None:
        """Sends what the outbox holds."""
        self._agent.queue.outbox_filled()

    def _api(self) -> KerutaApi:
        if self._agent.api is None:
            raise errors.SettingsError(
                "the agent has no API that could tell it the task",
                advice="Set KERUTA_API_URL, and start the daemon again",
            )
        return self._agent.api

    def _refuse_if_busy(self) -> None:
        if not self._takes_jobs:
            raise errors.AgentBusy("an agent is running one job in the foreground")
