"""Handlers of the commands about the queue. Each is stored as a whole, and may be asked again."""

from __future__ import annotations

import dataclasses
from typing import Any, Final

from keruta_agent.agent.control.commands import (
    Cancel,
    Cancelled,
    Done,
    Flush,
    Look,
    Move,
    Moved,
    Pause,
    QueueState,
    Resume,
    Resumed,
    Retried,
    Retry,
    Status,
    Submit,
    SubmitTask,
    Submitted,
)
from keruta_agent.agent.control.control import Control
from keruta_agent.agent.control.find import find_job, get_job
from keruta_agent.agent.store.jobs import JobState
from keruta_agent.core import errors

#: Characters of why a job was cancelled.
LONGEST_REASON: Final = 300


def pause(control: Control, command: Pause) -> QueueState:
    """Start no further job; the running one goes on."""
    control.records.jobs.pause(command.reason)
    return QueueState(paused=command.reason, running=_running(control))


def resume(control: Control, command: Resume) -> Resumed:
    """Start jobs again."""
    was_paused = control.records.jobs.pause_reason() is not None
    control.records.jobs.resume()
    _look(control)
    return Resumed(paused=None, running=_running(control), was_paused=was_paused)


def move(control: Control, command: Move) -> Moved:
    """Give a waiting job another priority: higher runs first, the older first among equals.

    Raises:
        NotFound: there is no such job.
        WrongState: it does not wait any more.
    """
    if not control.records.jobs.set_priority(command.job, command.priority):
        job = get_job(control.records, command.job)
        raise errors.WrongState(f"job {job.id} does not wait any more: it is {job.shown_state}")
    jobs = control.records.jobs
    job = get_job(control.records, command.job)
    return Moved(
        job=command.job,
        priority=command.priority,
        place=jobs.ahead_of(job) + 1 if job.state is JobState.WAITING else None,
        waiting=jobs.counts()[JobState.WAITING],
    )


def retry(control: Control, command: Retry) -> Retried:
    """Run a job that has ended once more, as a new one.

    A task at the API has one end, which stands; so a new task with the same script is filed there.

    Raises:
        NotFound: there is no such job.
        WrongState: it has not ended.
        ApiError: it is a task, and the API did not take the new one.
    """
    job = get_job(control.records, command.job)
    if job.state is not JobState.FINISHED:
        raise errors.WrongState(f"job {job.id} has not ended: it is {job.shown_state}")
    if job.task_id is None:
        resubmit = Submit(name=job.name, work=job.work, priority=job.priority, key=command.key)
        retried = Retried(job=_record(control, resubmit))
    else:
        api = control.api()
        task = api.task(job.task_id)
        copy = dataclasses.replace(task, parameters={**task.parameters, "retryOf": task.id})
        retried = Retried(task=api.create_task(copy, key=command.key).id)
    _look(control)
    return retried


def cancel(control: Control, command: Cancel) -> Cancelled:
    """End a job; a running one is stopped.

    Raises:
        NotFound: there is no such job.
    """
    job = get_job(control.records, command.job)
    was = control.cancel_job(job.id, command.reason[:LONGEST_REASON]) or job.state
    if control.agent is not None:
        control.agent.wake_event.wake()
    control.queue.outbox_filled()
    return Cancelled(job=job.id, was=was.value)


def submit(control: Control, command: Submit) -> Submitted:
    """Queue an ad-hoc script.

    Raises:
        AgentBusy: the agent takes no jobs.
    """
    _refuse_if_busy(control)
    job_id = _record(control, command)
    control.queue.jobs_runnable()
    return Submitted(job=job_id)


def submit_task(control: Control, command: SubmitTask) -> Submitted:
    """Queue one task of the API.

    Raises:
        AgentBusy: the agent takes no jobs.
        ApiError: the API did not return the task.
    """
    _refuse_if_busy(control)
    task = control.api().task(command.task)
    job_id = control.records.jobs.record_task(task)
    if job_id is None:
        return Submitted(job=find_job(control.records, task.id).id)
    control.queue.jobs_runnable()
    return Submitted(job=job_id)


def look(control: Control, command: Look) -> Done:
    """Look at once for what may run."""
    _look(control)
    return Done()


def flush(control: Control, command: Flush) -> Done:
    """Send what the outbox holds."""
    control.queue.outbox_filled()
    return Done()


def status(control: Control, command: Status) -> dict[str, Any]:
    """Return what the daemon does at the moment."""
    return dict(control.status())


def _record(control: Control, command: Submit) -> int:
    return control.records.requests.once(
        command.key,
        lambda: control.records.jobs.record_script(
            command.name, command.work, priority=command.priority
        ),
    )


def _look(control: Control) -> None:
    control.queue.jobs_runnable()
    control.queue.poll_now()


def _running(control: Control) -> int:
    return control.records.jobs.counts()[JobState.RUNNING]


def _refuse_if_busy(control: Control) -> None:
    if not control.takes_jobs:
        raise errors.AgentBusy("an agent is running one job in the foreground")
