"""When a failed job is tried again: how often, after which ends, and how long it waits.

The settings say it for all tasks, a task's ``parameters.retry`` for itself::

    "retry": 5
    "retry": {"count": 5, "on": ["timeout", "lost", "exit:75"], "delay": "30s"}

A script that says itself that it failed (``keruta fail``) is believed: it is tried again only if
the rule names ``reported``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any, Final

from keruta_agent.agent.store.jobs import Job
from keruta_agent.agent.store.run import Outcome, Run
from keruta_agent.core.backoff import Backoff
from keruta_agent.core.model import TaskStatus
from keruta_agent.core.settings.schema import Settings
from keruta_agent.core.units import parse_duration

#: Ends by their names in a rule; ``exit:N`` and ``signal:N`` name one code.
REASONS: Final[Mapping[str, Outcome]] = {
    "exit": Outcome.FAILED,
    "signal": Outcome.KILLED,
    "timeout": Outcome.TIMED_OUT,
    "input_timeout": Outcome.INPUT_TIMEOUT,
    "lost": Outcome.LOST,
    "oom": Outcome.OUT_OF_MEMORY,
    "disk_full": Outcome.DISK_FULL,
    "not_started": Outcome.NOT_STARTED,
    "not_pushed": Outcome.NOT_PUSHED,
    "stopped": Outcome.AGENT_STOPPED,
}
#: The script said itself that it failed.
REPORTED: Final = "reported"
#: What a rule that names ``lost`` means as well: the records of a run were lost, and nothing says
#: that its script did not come to its end. Nobody runs it twice unasked.
UNRECORDED: Final = "unrecorded"
#: What is tried again unless the rule says otherwise. Not a script that cannot be started: it
#: will not be there a second later either. Not an answer that nobody gave, for the same reason.
#: Not a stop of the agent: somebody wanted that.
DEFAULT_REASONS: Final = frozenset({"exit", "signal", "timeout", "lost", "oom", "disk_full"})

LONGEST_WAIT_S: Final = 300.0
MOST_RETRIES: Final = 100


@dataclasses.dataclass(frozen=True, kw_only=True)
class RetryRule:
    """How often, after which ends, and after how many seconds a job is tried again."""

    count: int
    on: frozenset[str] = DEFAULT_REASONS
    delay_s: float

    def allows(self, run: Run) -> bool:
        """Return whether a job may be tried again after this run."""
        return run.number <= self.count and bool(self.on & reasons_of(run))

    def wait_s(self, run: Run) -> float:
        """Return the seconds before the next run."""
        longest_s = max(LONGEST_WAIT_S, self.delay_s)
        return Backoff(self.delay_s, longest_s).delay_s(run.number)


def reasons_of(run: Run) -> frozenset[str]:
    """Return the names under which a rule may mean the end of a run."""
    if run.reported_status is TaskStatus.FAILED and run.outcome is Outcome.FAILED:
        return frozenset({REPORTED})
    if run.outcome is Outcome.LOST and run.exit_digest is None:
        return frozenset({UNRECORDED})
    names = {name for name, outcome in REASONS.items() if outcome is run.outcome}
    if run.outcome in (Outcome.FAILED, Outcome.DISK_FULL) and run.exit_code:
        names |= {"exit", f"exit:{run.exit_code}"}
    if run.outcome in (Outcome.KILLED, Outcome.DISK_FULL) and run.signal:
        names |= {"signal", f"signal:{run.signal}"}
    return frozenset(names)


def rule_for(job: Job, settings: Settings) -> RetryRule:
    """Return the rule of a job.

    Raises:
        ValueError: the task's own rule is invalid; the text says why.
    """
    if job.work.parameters.get("autoFix"):
        # It has the parameters of the task that it is to fix, its rule among them, and is itself
        # the next try.
        return RetryRule(count=0, delay_s=settings.retry_delay_s)
    own = job.work.parameters.get("retry")
    # What a person submits on the command line fails before their eyes: no retry unasked.
    count = settings.retry_count if job.task_id is not None else 0
    if own is None:
        return RetryRule(count=count, delay_s=settings.retry_delay_s)
    if isinstance(own, Mapping):
        return RetryRule(
            count=_count(own.get("count", count)),
            on=_reasons(own.get("on")),
            delay_s=_delay(own.get("delay"), settings.retry_delay_s),
        )
    return RetryRule(count=_count(own), delay_s=settings.retry_delay_s)


def _count(value: Any) -> int:
    if isinstance(value, bool):
        if value:
            raise ValueError("parameters.retry is a number or an object, not true")
        return 0
    if not isinstance(value, int) or not 0 <= value <= MOST_RETRIES:
        raise ValueError(f"retry.count must be a whole number from 0 to {MOST_RETRIES}")
    return value


def _reasons(value: Any) -> frozenset[str]:
    if value is None:
        return DEFAULT_REASONS
    if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
        raise ValueError("retry.on must be a list of reasons")
    for name in value:
        kind, colon, code = name.partition(":")
        coded = kind in ("exit", "signal") and code.isdigit()
        if not (coded if colon else name in REASONS or name == REPORTED):
            known = ", ".join([*REASONS, REPORTED, "exit:N", "signal:N"])
            raise ValueError(f"retry.on does not know {name!r}; it knows {known}")
    return frozenset(value) | ({UNRECORDED} if "lost" in value else set())


def _delay(value: Any, default_s: float) -> float:
    if value is None:
        return default_s
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("retry.delay must be a duration such as 30 or 1m30s")
    return parse_duration(str(value))
