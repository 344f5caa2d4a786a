"""Which secrets must not leave with what a run wrote: the agent's, the task's, and those that the
script named itself (``keruta redact add``).
"""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from keruta_agent.agent.run.directory import RunDirectory
from keruta_agent.agent.store.jobs import Job
from keruta_agent.agent.store.run import Run
from keruta_agent.agent.store.store import Records
from keruta_agent.core import errors
from keruta_agent.core.redaction.redactor import Redactor


class Redaction:
    """The redactors of runs. Safe to share between threads."""

    def __init__(
        self, own: Redactor, records: Records, directory_of: Callable[[Run], RunDirectory]
    ) -> None:
        """Take the redactor that knows the agent's own secrets."""
        self.own = own
        self._records = records
        self._directory_of = directory_of
        #: Answers to secret questions by run. In memory only.
        self._answers: dict[int, tuple[str, ...]] = {}
        self._build = functools.lru_cache(maxsize=8)(self._build_redactor)

    def of_run(self, run_id: int | None) -> Redactor:
        """Return the redactor for what a run wrote, the agent's own without a run."""
        if run_id is None:
            return self.own
        run = self._records.runs.get(run_id)
        named = tuple(self._directory_of(run).read_secrets())
        return self._build(run.job_id, (*named, *self._answers.get(run_id, ())))

    def remember(self, run_id: int, answer: str) -> None:
        """Mask a secret answer from now on, should the script print it."""
        secrets = [line for line in answer.splitlines() if line.strip()]
        self._answers[run_id] = (*self._answers.get(run_id, ()), *secrets)

    def keep(self, job: Job, directory: RunDirectory) -> None:
        """Note a task's secrets beside its run, for an agent whose records do not know them.

        Raises:
            OSError: they cannot be stored.
        """
        for secret in _secrets_of(job):
            with contextlib.suppress(errors.UsageError):  # too large to be one
                directory.add_secret(secret)

    def _build_redactor(self, job_id: int, named: tuple[str, ...]) -> Redactor:
        job = self._records.jobs.get(job_id)
        task_secrets = () if job is None else _secrets_of(job)
        return self.own.with_secrets([*task_secrets, *named])


def _secrets_of(job: Job) -> Iterable[str]:
    variables = dict(_texts(job.work.parameters))
    return Redactor.secrets_in({**variables, **job.work.environment})


def _texts(parameters: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the texts in a task's parameters with their names, at any depth."""
    for name, value in parameters.items():
        if isinstance(value, str):
            yield name, value
        elif isinstance(value, Mapping):
            yield from _texts(value)
