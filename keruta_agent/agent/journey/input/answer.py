"""Answers to a script that waits for one, from whichever side the first comes.

The answer itself goes into the script's standard input and nowhere else. That of a secret
question is also remembered in memory, so that it is masked if the script prints it; the next
daemon does not know it.
"""

from __future__ import annotations

import dataclasses
import logging

from keruta_agent.agent.journey import execute
from keruta_agent.agent.journey.agent import Agent
from keruta_agent.agent.journey.context import RunContext
from keruta_agent.agent.run import processes
from keruta_agent.agent.run.input import stdin
from keruta_agent.agent.store.jobs import JobState
from keruta_agent.agent.store.questions import Question, QuestionState
from keruta_agent.core import errors

logger = logging.getLogger(__name__)


def give(
    agent: Agent, job_id: int, text: str, source: str, *, number: int | None = None
) -> Question:
    """Answer the open question of a job and return it; a missing line end is added.

    Args:
        agent: the agent that follows the job.
        job_id: the job that asks.
        text: the answer.
        source: where it comes from: ``api``, ``command``, ``terminal`` or ``http``.
        number: the question that is meant, if it must be no other.

    Raises:
        NotFound: there is no such job.
        NothingAsked: it waits for no answer, or for another one by now.
        InputRefused: nothing of the script reads it.
    """
    with agent.prompt_lock.lock:
        ctx, question = _open_question(agent, job_id, number)
        if question.secret:
            agent.redaction.remember(ctx.run.id, text)
        ctx.directory.answer(text)
        _note(ctx, question, source)
    return dataclasses.replace(question, state=QuestionState.ANSWERED, answered_by=source)


def feed(agent: Agent, job_id: int, data: bytes, *, ends: bool, source: str) -> bool:
    """Pass on a client's standard input as it is; return whether the script took it.

    With ``ends`` the script sees the end of its input after that. Data that does not fit must
    be handed in again.

    Raises:
        NotFound: there is no such job.
        NothingAsked: it does not run.
        InputRefused: nothing of the script reads it.
    """
    with agent.prompt_lock.lock:
        ctx = _running(agent, job_id)
        directory = ctx.directory
        question = agent.records.questions.current(ctx.run.id)
        is_open = question is not None and question.state is QuestionState.OPEN
        if data:
            if question is not None and question.secret:
                agent.redaction.remember(ctx.run.id, data.decode("utf-8", "replace"))
            if not directory.feed(data):
                return False
        shim = execute.shim_of(ctx)
        if ends and shim is not None and stdin.is_read(directory.stdin):
            processes.end_input(shim)
        if question is not None and is_open:
            _note(ctx, question, source)
    return True


def _note(ctx: RunContext, question: Question, source: str) -> None:
    agent, job, run = ctx.agent, ctx.job, ctx.run
    agent.prompt_lock.note_answer()
    agent.records.questions.answered(job, run, question, source)
    logger.info(
        "job %d was answered by %s",
        job.id,
        source,
        extra={
            "action": "input_answered",
            "job": job.id,
            "task": job.task_id,
            "run": run.uid,
            "question": question.number,
            "source": source,
        },
    )
    agent.wake_event.wake()


def _running(agent: Agent, job_id: int) -> RunContext:
    job = agent.records.jobs.get(job_id)
    if job is None:
        raise errors.NotFound(f"there is no job {job_id}", advice="See: keruta queue list")
    running = RunContext.of_active(agent)
    if job.state is not JobState.RUNNING or running is None or running.job.id != job_id:
        raise errors.NothingAsked(f"job {job_id} waits for no answer: it does not run now")
    return running


def _open_question(agent: Agent, job_id: int, number: int | None) -> tuple[RunContext, Question]:
    ctx = _running(agent, job_id)
    question = agent.records.questions.current(ctx.run.id)
    if question is None or question.state is not QuestionState.OPEN:
        raise errors.NothingAsked(f"job {job_id} waits for no answer now")
    if number is not None and number != question.number:
        raise errors.NothingAsked(
            f"job {job_id} waits for the answer to another question by now: {question.prompt}"
        )
    return ctx, question
