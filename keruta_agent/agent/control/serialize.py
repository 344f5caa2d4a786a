"""Jobs and what belongs to them as JSON: one vocabulary for the HTTP API and ``--json``."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final

from keruta_agent.agent.store.artifacts import Artifact
from keruta_agent.agent.store.jobs import Job
from keruta_agent.agent.store.journal import Event
from keruta_agent.agent.store.questions import AskedOf
from keruta_agent.agent.store.run import Run
from keruta_agent.agent.store.usage import Usage
from keruta_agent.core.wire import format_date

#: The fields of a run, of what it used, and of a file, under the names of the records.
_OF_RUN: Final = ("number", "exit_code", "signal", "message", "progress", "progress_message")
_OF_USAGE: Final = (
    "wall_s",
    "user_s",
    "system_s",
    "peak_memory_bytes",
    "average_memory_bytes",
    "read_bytes",
    "write_bytes",
    "peak_processes",
)
_OF_ARTIFACT: Final = ("path", "size", "sha256", "content_type", "description", "reason")


def date(unix_time: float | None) -> str | None:
    """Return a point in time as text, None for none."""
    return None if unix_time is None else format_date(datetime.fromtimestamp(unix_time, tz=UTC))


def job_to_json(job: Job) -> dict[str, Any]:
    """Return a job without its script, which may hold secrets in any form."""
    return {
        "id": job.id,
        "task": job.task_id,
        "session": job.session_id,
        "name": job.name,
        "priority": job.priority,
        "state": job.state.value,
        "outcome": job.outcome,
        "message": job.message,
        "exit_code": job.exit_code,
        "filed_at": date(job.filed_at),
        "finished_at": date(job.finished_at),
        "stop_reason": job.stop_reason,
    }


def run_to_json(run: Run) -> dict[str, Any]:
    """Return one execution of a job."""
    return _picked(run, _OF_RUN) | {
        "started_at": date(run.claimed_at),
        "ended_at": date(run.ended_at),
        "outcome": None if run.outcome is None else run.outcome.value,
    }


def usage_to_json(usage: Usage) -> dict[str, Any]:
    """Return what a run used."""
    return _picked(usage, _OF_USAGE)


def artifact_to_json(artifact: Artifact) -> dict[str, Any]:
    """Return a file that a job left, and what became of it."""
    return _picked(artifact, _OF_ARTIFACT) | {"state": artifact.state.value}


def kept_artifact_to_json(artifact: Artifact) -> dict[str, Any]:
    """Return a file that a job left, and where it lies on this machine."""
    where = {"file": artifact.file, "added_at": date(artifact.added_at)}
    return artifact_to_json(artifact) | where


def question_to_json(asked: AskedOf) -> dict[str, Any]:
    """Return a question of a running script."""
    return {
        "job": asked.job_id,
        "task": asked.task_id,
        "name": asked.job_name,
        "number": asked.question.number,
        "prompt": asked.question.prompt,
        "secret": asked.question.secret,
        "asked_at": date(asked.question.asked_at),
    }


def event_to_json(job: Job, event: Event) -> dict[str, Any]:
    """Return one thing that happened to a job."""
    return {
        "job": job.id,
        "task": job.task_id,
        "run": event.run_number,
        "action": event.action,
        "detail": event.detail,
        "at": date(event.at),
    }


def _picked(record: object, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: getattr(record, name) for name in names}
