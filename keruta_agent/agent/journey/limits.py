"""How long a script may take, and how long it may wait for an answer."""

from __future__ import annotations

from keruta_agent.agent.store.jobs import Job
from keruta_agent.core import errors
from keruta_agent.core.settings.schema import Settings
from keruta_agent.core.units import parse_duration


def timeout_s(job: Job, settings: Settings) -> float:
    """Return the seconds that a job's script may take, 0 for any time.

    Time in which the script waits for an answer counts too.

    Raises:
        RunError: the task's own limit is no duration.
    """
    return _limit_s(job, "timeout", settings.task_timeout_s)


def input_timeout_s(job: Job, settings: Settings) -> float:
    """Return the seconds that a job's script may wait for one answer, 0 for any time.

    Raises:
        RunError: the task's own limit is no duration.
    """
    return _limit_s(job, "inputTimeout", settings.input_timeout_s)


def _limit_s(job: Job, name: str, default_s: float) -> float:
    own = job.work.parameters.get(name)
    if own is None:
        return default_s
    try:
        if isinstance(own, bool) or not isinstance(own, str | int | float):
            raise ValueError("It is neither a number nor a text")
        return parse_duration(str(own))
    except ValueError as exc:
        raise errors.RunError(
            f"parameters.{name} of the task must be a duration, not {own!r:.40}",
            advice="Write seconds, or a duration such as 1m30s",
        ) from exc
