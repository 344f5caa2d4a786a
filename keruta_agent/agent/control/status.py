"""The status of the daemon, the same at the socket and over HTTP."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping
from typing import Any

from keruta_agent import __version__
from keruta_agent.agent.control.serialize import date, question_to_json
from keruta_agent.agent.journey.agent import Agent
from keruta_agent.agent.store.jobs import Job
from keruta_agent.agent.store.run import Run
from keruta_agent.core.settings.schema import shown


def describe(
    agent: Agent,
    *,
    session_id: str | None,
    started_at: float,
    api_problem: str | None = None,
    session_problem: str | None = None,
) -> Mapping[str, Any]:
    """Return what the daemon does, ready for JSON.

    Args:
        agent: whose daemon it is.
        session_id: the session that it serves.
        started_at: Unix time of its start.
        api_problem: why the API cannot be asked for tasks.
        session_problem: why it is not known which session to serve.
    """
    active = agent.records.runs.active()
    outbox = agent.records.outbox.counts()
    if agent.outbox_sender is not None:
        api_problem = api_problem or agent.outbox_sender.api_problem
    api_away = api_problem is not None
    return {
        "pid": os.getpid(),
        "version": __version__,
        "python": platform.python_version(),
        "started_at": date(started_at),
        "session": session_id,
        "standby": agent.ownership.standby,
        "api": shown(agent.settings)["api_url"],
        "running": None if active is None else active[0].id,
        "current": None if active is None else _current(*active),
        "questions": [question_to_json(asked) for asked in agent.records.questions.open_ones()],
        "paused": agent.records.jobs.pause_reason(),
        "jobs": {
            **{state.value: number for state, number in agent.records.jobs.counts().items()},
            "pruned": agent.records.retention.count(),
        },
        "outbox": {
            "pending": outbox.pending,
            "parked": outbox.dead_letters,
            "oldest_s": None if outbox.oldest is None else _seconds_since(outbox.oldest),
        },
        "disk_problem": agent.disk.problem,
        "session_problem": session_problem,
        "api_away": api_away,
        "api_problem": api_problem,
        "api_reachable": None if agent.api is None else not api_away,
    }


def _current(job: Job, run: Run) -> dict[str, Any]:
    return {
        "job": job.id,
        "task": job.task_id,
        "name": job.name,
        "run": run.number,
        "since": date(run.claimed_at),
        "running_s": _seconds_since(run.claimed_at),
        "progress": run.progress,
        "progress_message": run.progress_message,
    }


def _seconds_since(unix_time: float) -> float:
    return round(max(0.0, time.time() - unix_time), 1)
