"""What the daemon does at the moment, as it tells it at each of its doors."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping
from typing import Any

from keruta_agent import __version__
from keruta_agent.journey.agent import Agent
from keruta_agent.local.told import date, question_to_json
from keruta_agent.records.jobs import Job
from keruta_agent.records.run import Run
from keruta_agent.settings.schema import shown


def describe(agent: Agent, *, session_id: str | None, started_at: float) -> Mapping[str, Any]:
    """Returns what the daemon does, ready for JSON; ``started_at`` is a Unix time."""
    active = agent.runs.active()
    outbox = agent.outbox.counts()
    api_away = agent.courier is not None and agent.courier.api_is_away
    return {
        "pid": os.getpid(),
        "version": __version__,
        "python": platform.python_version(),
        "started_at": date(started_at),
        "session": session_id,
        "api": shown(agent.settings)["api_url"],
        "running": None if active is None else active[0].id,
        "current": None if active is None else _current(*active),
        "questions": [question_to_json(asked) for asked in agent.questions.open_ones()],
        "paused": agent.jobs.pause_reason(),
        "jobs": {state.value: number for state, number in agent.jobs.counts().items()},
        "outbox": {
            "pending": outbox.pending,
            "parked": outbox.parked,
            "oldest_s": None if outbox.oldest is None else _seconds_since(outbox.oldest),
        },
        "api_away": api_away,
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
