"""Decides what follows a failed run: for now an auto-fix task, and the end of the job.

Triggered by the work queue's failure signal. The decision is one transaction, and jobs that wait
for it are in the state ``failing``, so that a daemon that was killed between the failure and the
decision takes it at its next start.
"""

from __future__ import annotations

import logging

from keruta_agent.journey import finish
from keruta_agent.journey.agent import Agent
from keruta_agent.records.jobs import Job
from keruta_agent.records.outbox import Kind
from keruta_agent.records.runs import Ending, Outcome, Run

logger = logging.getLogger(__name__)

#: Failures that a changed script could avoid. Not an interrupted run: there is nothing to fix.
_FIXABLE = frozenset({Outcome.FAILED, Outcome.KILLED})


def mend_failures(agent: Agent) -> None:
    """Settles every job of which a run failed."""
    for job in agent.jobs.failing():
        run = agent.runs.of_job(job.id)[-1]
        _give_up(agent, job, run)
    agent.queue.outbox_filled()


def _give_up(agent: Agent, job: Job, run: Run) -> None:
    """Ends the job as failed, and asks for an auto-fix task where one may help."""
    ending = _ending(run)
    with agent.database.transaction():
        agent.jobs.finish(job.id)
        finish.report_end(agent, job, run, ending)
        if job.task_id is not None and _wants_auto_fix(agent, run):
            agent.outbox.add(
                Kind.AUTO_FIX,
                job.task_id,
                {
                    "error_message": ending.message,
                    "error_code": finish.error_code(run, ending),
                },
                run_id=run.id,
                key=f"{run.uid}-auto-fix",
            )


def _wants_auto_fix(agent: Agent, run: Run) -> bool:
    if run.outcome not in _FIXABLE:
        return False
    return agent.settings.auto_fix if run.wants_auto_fix is None else run.wants_auto_fix


def _ending(run: Run) -> Ending:
    return Ending(
        outcome=run.outcome or Outcome.LOST,
        message=run.message,
        exit_code=run.exit_code,
        signal=run.signal,
    )
