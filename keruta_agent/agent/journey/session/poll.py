"""The poll of the API for the session and its PENDING tasks; each new one becomes a job."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Sequence
from typing import Final

from keruta_agent.agent.journey import announce, claim, pausing, workspace
from keruta_agent.agent.journey.agent import Agent
from keruta_agent.agent.journey.context import RunContext
from keruta_agent.agent.journey.session import resolve
from keruta_agent.agent.ports import KerutaApi
from keruta_agent.agent.store.intake import BATCH, batches
from keruta_agent.agent.store.jobs import JobState, StopKind
from keruta_agent.core import errors
from keruta_agent.core.model import Session, Task
from keruta_agent.core.pending import Brief, PendingTasks

logger = logging.getLogger(__name__)

#: Answers 404 in a row after which a session counts as deleted; one may be a server's hiccup.
NOT_FOUND_LIMIT: Final = 3
#: Seconds for which they must go on: events make several looks in a moment.
NOT_FOUND_S: Final = 10.0
#: New tasks of a batch that the log names.
MOST_NAMED: Final = 20


class SessionPoll:
    """The poll of one session: which it is, which tasks it has, and when it ends."""

    def __init__(self, agent: Agent, api: KerutaApi) -> None:
        self._agent = agent
        self._api = api
        self._session_id: str | None = None
        #: Monotonic times of the looks in a row at which there was no such session.
        self._not_found: list[float] = []
        self._problem: errors.ApiError | errors.SettingsError | None = None
        #: PENDING tasks of other agents, as of the last look.
        self._claimed_by_others: frozenset[str] = frozenset()
        #: Set once the session takes no more tasks.
        self.ended = threading.Event()

    @property
    def session_id(self) -> str | None:
        """Id of the session, None until the API has named it."""
        return self._session_id

    @property
    def is_unauthorized(self) -> bool:
        """Whether the API does not accept our token."""
        return isinstance(self._problem, errors.ApiUnauthorized)

    @property
    def api_problem(self) -> str | None:
        """Why the API cannot be asked, or takes no reports; None when all is well."""
        if isinstance(self._problem, errors.ApiError):
            return self._problem.message
        writes = self._agent.writes.problem
        return None if writes is None else writes.message

    @property
    def session_problem(self) -> str | None:
        """Why it is not known which session to serve."""
        return self._problem.message if isinstance(self._problem, errors.SettingsError) else None

    def resolve(self) -> Session:
        """Find out which session to serve.

        Raises:
            SettingsError: none or several fit.
            ApiError: the API cannot be asked now.
        """
        try:
            session = resolve.find_session(self._api, self._agent.settings, os.environ)
        except (errors.ApiError, errors.SettingsError) as exc:
            self._problem = exc
            raise
        self._session_id = session.id
        logger.info(
            "serves the session %s (%s)",
            session.id,
            session.name,
            extra={"action": "session_resolved", "session": session.id},
        )
        return session

    def poll(self) -> None:
        """Record the session's new tasks; an API that is away is asked again the next time."""
        if self.ended.is_set():
            return
        was_unauthorized, was_failing = self.is_unauthorized, self._problem is not None
        try:
            self._poll()
        except (errors.ApiError, errors.SettingsError) as exc:
            self._problem = exc
            if not was_failing or was_unauthorized != self.is_unauthorized:
                logger.log(
                    logging.ERROR if self.is_unauthorized else logging.WARNING,
                    "cannot ask the API for tasks, goes on trying: %s",
                    exc,
                    extra={"action": "poll_failed", "session": self._session_id},
                )
            return
        if self._problem is not None:
            logger.info("the API answers again", extra={"action": "poll_recovered"})
            self._problem = None
            self._deliver_again()

    def _deliver_again(self) -> None:
        if self._agent.outbox_sender is not None:
            self._agent.outbox_sender.api_answers_again()
            self._agent.queue.outbox_filled()

    def _poll(self) -> None:
        session_id = self._session_id or self.resolve().id
        try:
            session = self._api.session(session_id)
        except errors.ApiNotFound:
            self._not_found.append(time.monotonic())
            lasts_s = self._not_found[-1] - self._not_found[0]
            if len(self._not_found) >= NOT_FOUND_LIMIT and lasts_s >= NOT_FOUND_S:
                self._end(session_id, "was deleted")
            return
        self._not_found.clear()
        workspace.remember(self._agent, session)
        self._agent.ownership.heartbeat(session_id)
        self._look_at_running()
        if session.has_ended:
            self._end(session_id, f"is {session.status}")
            return
        if not self._may_report():
            return
        pausing.follow(self._agent, session)
        claim.wake_withheld(self._agent)
        pending = self._api.pending_tasks(session_id)
        if self._agent.ownership.standby is None:
            self._agent.ownership.claimed = frozenset()
            self._record(pending, pending.briefs)
        else:
            self._keep_claimed(pending)

    def _keep_claimed(self, pending: PendingTasks) -> None:
        """Continue with the tasks that this agent has claimed, also on standby."""
        own_id = self._agent.ownership.identity.id
        claimed = [brief for brief in pending.briefs if brief.claimed_by == own_id]
        self._agent.ownership.claimed = frozenset(brief.id for brief in claimed)
        self._record(pending, claimed)
        if claimed:
            self._agent.queue.jobs_runnable()

    def _record(self, pending: PendingTasks, briefs: Sequence[Brief]) -> None:
        """Record those of the tasks that wait and that no other agent has claimed."""
        intake = self._agent.records.intake
        own_id = self._agent.ownership.identity.id
        others = {brief.id for brief in briefs if brief.claimed_by not in (None, own_id)}
        found = intake.compare({brief.id: brief.priority for brief in briefs})
        intake.follow_priorities(found.moved)
        for batch in batches(pending.read(found.unknown - others)):
            new = self._agent.records.jobs.record_tasks(batch)
            self._announce([(task, new[task.id]) for task in batch if task.id in new])
        released = found.refused - others
        revived = intake.revive(released)
        self._announce([(task, revived[task.id]) for task in pending.read(revived)])
        self._name_claimed(others)

    def _announce(self, recorded: Sequence[tuple[Task, int]]) -> None:
        """Announce jobs that wait now: each by its name, unless they are many."""
        if not recorded:
            return
        self._agent.queue.jobs_runnable()
        for task, job_id in recorded[:MOST_NAMED]:
            logger.info(
                "recorded task %s as job %d: %s",
                task.id,
                job_id,
                task.name,
                extra={"action": "task_recorded", "task": task.id, "job": job_id},
            )
        if len(recorded) > MOST_NAMED:
            logger.info(
                "recorded %d more tasks, up to job %d",
                len(recorded) - MOST_NAMED,
                max(job_id for _, job_id in recorded),
                extra={"action": "tasks_recorded"},
            )

    def _name_claimed(self, task_ids: set[str]) -> None:
        """Say once of each task that another agent has claimed it and not begun it."""
        for task_id in sorted(task_ids - self._claimed_by_others):
            logger.info(
                "leaves task %s alone: another agent has claimed it",
                task_id,
                extra={"action": "task_left_alone", "task": task_id},
            )
        self._claimed_by_others = frozenset(task_ids)

    def _may_report(self) -> bool:
        """Test whether reports arrive; what waited for that may start when they do again."""
        writes = self._agent.writes
        was_refused = writes.problem is not None
        writes.test(self._api)
        if was_refused and writes.problem is None:
            self._deliver_again()
            self._agent.queue.jobs_runnable()
        return writes.problem is None

    def _look_at_running(self) -> None:
        """Stop the running task if the API does not want it any more."""
        running = RunContext.of_active(self._agent)
        if running is None or running.job.stop_kind is not None:
            return
        announce.still_wanted(running)
        self._agent.wake_event.wake()

    def _end(self, session_id: str, how: str) -> None:
        logger.info(
            "the session %s %s: no more tasks are taken",
            session_id,
            how,
            extra={"action": "session_ended", "session": session_id},
        )
        reason = f"The session {how}"
        records = self._agent.records
        while records.withdrawals.refuse_waiting(session_id, reason, most=BATCH):
            pass  # others write between two batches
        begun = [JobState.RUNNING, JobState.FAILING, JobState.SCHEDULED]
        for job in records.jobs.listing(states=begun):
            if job.session_id == session_id:
                self._agent.stops.request(job.id, StopKind.CANCELLED, reason)
        self._agent.wake_event.wake()
        self.ended.set()
