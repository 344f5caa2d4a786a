"""The biography of one task: from the claim to the end that the API will be told.

Every stage can be cut off by ``kill -9``; the next daemon comes through here again, finds the
run that has not ended, and goes on where the records and the run directory say that it was.
"""

from __future__ import annotations

import dataclasses
import logging

from keruta_agent import errors
from keruta_agent.journey import (
    announce,
    claim,
    collect,
    conclude,
    execute,
    finish,
    follow,
    prepare,
    quarantine,
)
from keruta_agent.journey.agent import Agent
from keruta_agent.journey.section import Section
from keruta_agent.journey.select_artifacts import Taken
from keruta_agent.observe import context
from keruta_agent.records.jobs import Job
from keruta_agent.records.run import Outcome, Run, RunResult
from keruta_agent.runs import processes

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ended:
    """A run that came to its end."""

    job: Job
    run: Run
    result: RunResult


def run_next(agent: Agent) -> Ended | None:
    """Goes on with the run that has not ended, else claims the next job; None when idle."""
    left = agent.records.runs.active()
    if left is not None:
        job, run = left[0], agent.records.runs.take_up(left[0], execute.note_start(agent, left[1]))
        if not execute.is_running(agent, run):  # else the next poll asks, and nothing waits for it
            announce.still_wanted(agent, job)
        return live(agent, job, run)
    if agent.records.jobs.seconds_to_next() == 0.0:
        # Woken here too, so that a job that is due again goes before what is younger.
        for job_id in agent.records.jobs.wake_due():
            agent.queue.job_runnable(job_id)
    claimed = agent.records.runs.claim_next(
        only_local=agent.writes.problem is not None,
        new_tasks=agent.ownership.takes_new_tasks(),
    )
    return None if claimed is None else live(agent, *claimed)


def live(agent: Agent, job: Job, run: Run) -> Ended | None:
    """Brings one claimed run to its end; None when it was taken back before anything began."""
    with context.about(job=job.id, task=job.task_id, run=run.uid):
        return _live(agent, job, run)


def _live(agent: Agent, job: Job, run: Run) -> Ended | None:
    record = None
    taken: list[Taken] = []
    try:
        quarantine.refuse_if_failing(agent, job, run)
        shim = execute.adopt(agent, run)
        adopted = shim is not None
        if shim is None:
            owned = claim.obtain(agent, job, run)
            if owned is None:
                return None
            run = execute.renew(agent, owned)
            announce.announce(agent, job, run)
            script = prepare.read_script(agent, job)
            agent.records.runs.enter(run.id, "prepare")
            plan = prepare.plan(agent, job, run, script)
            shim = execute.start(agent, job, run, plan)
        record = follow.until_end(agent, job, run, shim)
        if adopted:
            processes.reap(shim)
        agent.records.runs.enter(run.id, "finish")
        result = finish.judge(agent, job, run, record)
        result = conclude.conclude(agent, job, run, result)
        left_out: list[tuple[str, str]] = []
        taken = collect.copy_artifacts(agent, job, run, lambda *each: left_out.append(each))
        Section(agent, job, run).tell_left_out(left_out)
    except announce.NotWantedError as exc:
        result = RunResult(outcome=finish.STOPPED[exc.kind], message=str(exc))
    except quarantine.QuarantinedError as exc:
        result = RunResult(outcome=Outcome.QUARANTINED, message=str(exc))
    except execute.VanishedError:
        if (left := execute.shim_of(agent, run)) is not None:
            processes.kill_tree(left, run.uid)
        follow.sweep(agent, job, run)
        result = finish.judge(agent, job, run, None)
    except errors.RunError as exc:
        result = finish.not_started(agent, job, str(exc))
    message = agent.redaction.of_run(run.id).redact(result.message)
    result = dataclasses.replace(result, message=message)
    finish.store(agent, job, run, result, record, taken)
    logger.info(
        "job %d ended: %s%s",
        job.id,
        result.outcome,
        f": {result.message}" if result.message else "",
        extra={"action": "run_ended", "job": job.id, "task": job.task_id, "run": run.uid},
    )
    return Ended(job=job, run=run, result=result)
