"""Delivery of the outbox to the API: task by task, in order, files beside the rest.

An API that is away delays and never loses: everything stays in the outbox until the server has
confirmed it. What may have arrived already is never just sent again.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from keruta_agent.agent.delivery import autofix, loglines, select_artifacts
from keruta_agent.agent.delivery.circuit_breaker import BACKOFF, CircuitBreaker
from keruta_agent.agent.delivery.input_requests import InputRequests
from keruta_agent.agent.delivery.redaction import Redaction
from keruta_agent.agent.delivery.writes import WriteCheck, may_be_blocked
from keruta_agent.agent.ports import KerutaApi
from keruta_agent.agent.store.artifacts import ArtifactState
from keruta_agent.agent.store.jobs import StopKind
from keruta_agent.agent.store.outbox import Batch, Kind, Lane, OutboxEntry
from keruta_agent.agent.store.store import Records
from keruta_agent.core import errors
from keruta_agent.core.boot_clock import boot_seconds
from keruta_agent.core.model import LogEntry, LogLevel, StatusReport, TaskStatus

logger = logging.getLogger(__name__)

#: Attempts after which an answer 500 counts as final, except for the end of a task.
ATTEMPTS_AT_BROKEN: Final = 12
#: What servers answer when a file is larger than they take.
TOO_LARGE: Final = 413
FORBIDDEN: Final = 403


class OutboxSender:
    """The sender of the outbox to the API. Safe to share between threads."""

    def __init__(
        self,
        api: KerutaApi,
        records: Records,
        log_reader: loglines.LogReader,
        redaction: Redaction,
        input_requests: InputRequests,
        writes: WriteCheck,
    ) -> None:
        self._api = api
        self._writes = writes
        self._database = records.database
        self._outbox = records.outbox
        self._artifacts = records.artifacts
        self._jobs = records.jobs
        self._runs = records.runs
        self._journal = records.journal
        self._log_reader = log_reader
        self._redaction = redaction
        self._input_requests = input_requests
        self._guard = threading.Condition()
        self._busy: set[tuple[str, Lane]] = set()
        self._words = CircuitBreaker("anything")
        self._files = CircuitBreaker("artifacts")
        self._keeping_artifacts_of: str | None = None
        self._handlers: Mapping[Kind, Callable[[Batch], None]] = {
            Kind.STATUS: self._send_status,
            Kind.PROGRESS: self._send_progress,
            Kind.LOGS: self._send_logs,
            Kind.ARTIFACT: self._send_artifact,
            Kind.AUTO_FIX: self._send_auto_fix,
            Kind.METRICS: self._send_metrics,
            Kind.LOG_LINE: self._send_log_line,
            Kind.QUESTION: self._send_input_request,
            Kind.RESUMED: self._send_input_request,
        }

    def deliver(self, budget_s: float, lane: Lane | None = None) -> float | None:
        """Deliver what is due for about this long; return the seconds until more is due.

        Without a lane all leaves in one row, for callers that have just one thread. None means
        that nothing waits; 0 that more is due now.
        """
        deadline = time.monotonic() + budget_s
        for task_id in self._outbox.tasks_due(boot_seconds(), lane):
            if not self._deliver_task(task_id, lane, deadline):
                break
        return self.due_in_s(lane)

    def due_in_s(self, lane: Lane | None) -> float | None:
        """Return the seconds until something is due; None when nothing can leave as things are."""
        due = self._outbox.next_due(lane)
        return None if due is None else max(0.0, due - boot_seconds(), self._wait_s(lane))

    def deliver_task(self, task_id: str, lane: Lane | None = None) -> None:
        """Deliver what waits of one task, unless the API is known to be away."""
        self._deliver_task(task_id, lane, None)

    @property
    def is_unauthorized(self) -> bool:
        """Whether the API refuses the agent's token."""
        return self._words.is_unauthorized or self._files.is_unauthorized

    @property
    def api_is_away(self) -> bool:
        """Whether the last attempts failed and the next one has to wait."""
        return self._words.wait_s > 0

    @property
    def api_problem(self) -> str | None:
        """Why the API takes no reports, None when it does."""
        return None if self._words.problem is None else self._words.problem.message

    def api_answers_again(self) -> None:
        """Retry what failed: another client got an answer."""
        self._words.retry_now()
        self._files.retry_now()

    def _breaker(self, lane: Lane | None) -> CircuitBreaker:
        return self._files if lane is Lane.FILES else self._words

    def _wait_s(self, lane: Lane | None) -> float:
        # An API that takes no report takes no file either.
        return max(self._breaker(lane).wait_s, self._words.wait_s)

    def _deliver_task(self, task_id: str, lane: Lane | None, deadline: float | None) -> bool:
        """Return whether to go on with other tasks."""
        # Without a deadline the caller needs the result, not only an attempt by some thread.
        with self._exclusive(task_id, lane, wait=deadline is None) as acquired:
            while acquired and not self._wait_s(lane):
                if deadline is not None and time.monotonic() >= deadline:
                    return False
                batch = self._outbox.take(task_id, lane)
                if batch is None or batch.first.not_before > boot_seconds():
                    return True
                if not self._deliver(batch, self._breaker(lane)):
                    break
        return not self._wait_s(lane)

    @contextmanager
    def _exclusive(self, task_id: str, lane: Lane | None, *, wait: bool) -> Iterator[bool]:
        """Keep two threads from delivering the same lane of a task, and breaking its order."""
        wanted = {(task_id, each) for each in ([lane] if lane else Lane)}
        with self._guard:
            while wait and wanted & self._busy:
                self._guard.wait()
            acquired = not wanted & self._busy
            if acquired:
                self._busy |= wanted
        try:
            yield acquired
        finally:
            if acquired:
                with self._guard:
                    self._busy -= wanted
                    self._guard.notify_all()

    def _deliver(self, batch: Batch, breaker: CircuitBreaker) -> bool:
        """Send one batch; return whether it was delivered or set aside."""
        try:
            self._hand_over(batch)
        except errors.ApiUnreachable as exc:
            self._outbox.release(batch)
            self._failed(batch, breaker, exc)
            return False
        except (
            errors.ApiAmbiguous,
            errors.ApiOverloaded,
            errors.ApiUnauthorized,
            errors.ApiBlocked,
        ) as exc:
            self._outbox.retry_later(batch, str(exc), 0.0)
            self._failed(batch, breaker, exc)
            return False
        except errors.ApiUnsupported as exc:
            self._cannot_be_stored(batch, exc)
        except errors.ApiRefused as exc:
            if exc.status == TOO_LARGE and batch.first.kind is Kind.ARTIFACT:
                self._cannot_be_stored(batch, exc)
            else:
                self._set_aside(batch, exc)
        except errors.ApiError as exc:
            return self._broken(batch, exc)
        except (errors.KerutaError, FileNotFoundError) as exc:  # the file was changed, or is gone
            self._set_aside(batch, exc)
            return True
        except (OSError, ValueError, TypeError, LookupError) as exc:
            # One entry that cannot be read must not block all the others for ever.
            logger.debug("cannot send a batch", exc_info=exc, extra={"action": "parcel_unreadable"})
            return self._broken(batch, exc)
        else:
            self._delivered(batch)
        breaker.ok()
        return True

    def _hand_over(self, batch: Batch) -> None:
        """Send one batch; a refusal by a proxy or firewall before the API is not the API's.

        Raises:
            ApiError: what the API answered, or why nothing is sent to it.
        """
        try:
            self._handlers[batch.first.kind](batch)
        except errors.ApiError as exc:
            if not may_be_blocked(exc):
                raise
            blocked = self._writes.doubt(self._api)
            if blocked is not None:  # a copy: one that is raised again and again grows
                raise type(blocked)(
                    blocked.message, advice=blocked.advice, status=blocked.status
                ) from exc
            if exc.status == FORBIDDEN and self._writes.is_proved:
                # A firewall that takes offence at these very words: others pass.
                raise errors.ApiFailed(exc.message, advice=exc.advice, status=exc.status) from exc
            raise

    def _failed(self, batch: Batch, breaker: CircuitBreaker, exc: errors.ApiError) -> None:
        if not breaker.is_open:
            self._note("api_failed", batch, exc)
        breaker.failed(exc)

    def _delivered(self, batch: Batch) -> None:
        if batch.first.kind is not Kind.ARTIFACT:
            self._outbox.delivered(batch)
            return
        with self._database.transaction(durable=False):
            self._outbox.delivered(batch)
            artifact = self._artifacts.settle(batch.first.key, ArtifactState.SENT)
        if artifact is not None and artifact.is_copy:
            Path(artifact.file).unlink(missing_ok=True)

    def _note(self, action: str, batch: Batch, exc: Exception) -> None:
        """Add an event to the journal of the job that a batch is about."""
        if batch.first.run_id is not None:
            run = self._runs.get(batch.first.run_id)
            self._journal.add(action, run.job_id, run.number, kind=batch.first.kind, error=str(exc))

    def _cannot_be_stored(self, batch: Batch, exc: errors.ApiError) -> None:
        """Keep artifacts listed here where no route takes them; the rest has no other reader."""
        if batch.first.kind is Kind.ARTIFACT:
            self._keep_here(batch, exc)
            return
        self._outbox.delivered(batch)
        logger.info(
            "this server has no place for %s: %s",
            batch.first.kind,
            exc,
            extra={"action": "api_lacks", "task": batch.first.task_id},
        )

    def _keep_here(self, batch: Batch, exc: errors.ApiError) -> None:
        entry = batch.first
        with self._database.transaction():
            self._outbox.delivered(batch)
            self._artifacts.settle(entry.key, ArtifactState.LOCAL, exc.message)
        # A warning once a task: its other artifacts most likely meet the same.
        is_first = self._keeping_artifacts_of != entry.task_id
        self._keeping_artifacts_of = entry.task_id
        logger.log(
            logging.WARNING if is_first else logging.DEBUG,
            "an artifact of task %s stays on this machine: %s (see: keruta artifact list "
            "--task-id %s)",
            entry.task_id,
            exc.message,
            entry.task_id,
            extra={"action": "artifact_stays_here", "task": entry.task_id},
        )

    def _set_aside(self, batch: Batch, exc: Exception) -> None:
        if isinstance(exc, errors.ApiError):
            self._note("api_refused", batch, exc)
        else:
            self._note("unsendable", batch, exc)
        with self._database.transaction():
            self._outbox.set_aside(batch, str(exc))
            if batch.first.kind is Kind.ARTIFACT:
                self._artifacts.settle(batch.first.key, ArtifactState.REFUSED, str(exc))
        logger.error(
            "a %s of task %s cannot be delivered; it is set aside: %s",
            batch.first.kind,
            batch.first.task_id,
            exc,
            extra={"action": "api_refused", "task": batch.first.task_id},
        )

    def _broken(self, batch: Batch, exc: Exception) -> bool:
        """Skip a batch at which the server or the agent failed: others may still pass."""
        attempts = batch.first.attempts + 1
        if attempts >= ATTEMPTS_AT_BROKEN and batch.first.kind is not Kind.STATUS:
            self._set_aside(batch, exc)
            return True
        wait = BACKOFF.delay_s(attempts + 1)
        self._outbox.retry_later(batch, str(exc), boot_seconds() + wait)
        if batch.first.attempts == 0:
            self._note("api_failed", batch, exc)
        logger.warning(
            "a %s of task %s could not be sent; tries again in %.0f seconds: %s",
            batch.first.kind,
            batch.first.task_id,
            wait,
            exc,
            extra={"action": "api_broke", "task": batch.first.task_id},
        )
        return False

    def _masked(self, batch: Batch) -> dict[str, Any]:
        """Return the payload with its secrets masked: the last step before the API."""
        redactor = self._redaction.of_run(batch.first.run_id)
        return {name: redactor.redact_value(value) for name, value in batch.first.payload.items()}

    # One method a kind: sends the batch, or raises what the API said.

    def _send_status(self, batch: Batch) -> None:
        entry = batch.first
        payload = self._masked(batch)
        report = StatusReport(**{**payload, "status": TaskStatus(payload["status"])})
        if (batch.may_have_arrived or entry.attempts) and self._has_arrived(entry, report):
            return
        try:
            task = self._api.write_status(entry.task_id, report, key=batch.key)
        except (errors.ApiNotFound, errors.ApiConflict) as exc:
            if report.status is TaskStatus.PROCESSING:
                self._do_not_run(entry, exc.message)
            raise
        if report.status is TaskStatus.PROCESSING and task.status is TaskStatus.FAILED:
            self._do_not_run(entry, f"The API does not let us run it: {task.message}")

    def _has_arrived(self, entry: OutboxEntry, report: StatusReport) -> bool:
        """Return whether an earlier attempt was stored, before anything is written again."""
        task = self._api.task(entry.task_id)
        if task.status is report.status:
            return True
        if report.status is not TaskStatus.PROCESSING or task.status is TaskStatus.PENDING:
            return False
        if task.status.is_terminal:
            self._do_not_run(entry, f"The task is {task.status} at the API: {task.message}")
        return True

    def _do_not_run(self, entry: OutboxEntry, reason: str) -> None:
        if entry.run_id is not None:
            self._jobs.request_stop(self._runs.get(entry.run_id).job_id, StopKind.REFUSED, reason)

    def _send_progress(self, batch: Batch) -> None:
        payload = self._masked(batch)
        self._api.send_progress(
            batch.first.task_id, payload["percent"], payload["message"], key=batch.key
        )

    def _send_logs(self, batch: Batch) -> None:
        if batch.first.run_id is None:
            return
        sequences = [entry.payload["sequence"] for entry in batch.entries]
        log_entries = self._log_reader.entries(batch.first.run_id, sequences)
        done = batch.first.delivered_entries
        while done < len(log_entries):
            done += self._api.send_logs(
                batch.first.task_id, log_entries[done:], key=f"{batch.key}-{done}"
            )
            if done < len(log_entries):
                self._outbox.partly_delivered(batch, done)

    def _send_log_line(self, batch: Batch) -> None:
        payload = self._masked(batch)
        line = LogEntry(**{**payload, "level": LogLevel(payload["level"])})
        self._api.send_logs(batch.first.task_id, [line], key=batch.key)

    def _send_input_request(self, batch: Batch) -> None:
        self._input_requests.send(batch, self._masked(batch))

    def _send_artifact(self, batch: Batch) -> None:
        redactor = self._redaction.of_run(batch.first.run_id)
        kept = select_artifacts.from_payload(batch.first.payload)
        artifact = dataclasses.replace(
            kept,
            relative_path=redactor.redact(kept.relative_path),
            description=redactor.redact(kept.description),
        )
        if not artifact.file.is_file():
            raise errors.ApiRefused(f"the kept copy of the artifact {artifact.file} is gone")
        self._api.upload_artifact(batch.first.task_id, artifact, key=batch.key)

    def _send_auto_fix(self, batch: Batch) -> None:
        payload = self._masked(batch)
        autofix.request(
            self._api,
            batch.first.task_id,
            error_message=payload["error_message"],
            error_code=payload["error_code"],
            key=batch.key,
        )

    def _send_metrics(self, batch: Batch) -> None:
        self._api.send_metrics(batch.first.task_id, self._masked(batch), key=batch.key)
