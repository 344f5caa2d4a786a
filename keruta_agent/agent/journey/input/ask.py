"""The watch for a script that waits for a person, and for its going on.

A daemon that takes over must know whether the script still waits for what was asked before: if it
does, nothing is asked a second time; if not, an answer to the old question must not be given to
the new one. The kernel's count of how often the process slept distinguishes the two.
"""

from __future__ import annotations

import dataclasses
import logging
import math
from typing import Final

from keruta_agent.agent.journey import limits
from keruta_agent.agent.journey.context import RunContext
from keruta_agent.agent.run.directory import ProcessId
from keruta_agent.agent.run.input.sleeps import count_sleeps
from keruta_agent.agent.run.input.waiting import InputDetector, Waiting
from keruta_agent.agent.store.jobs import StopKind
from keruta_agent.agent.store.questions import NO_PROMPT, Question, QuestionState
from keruta_agent.core.boot_clock import boot_seconds
from keruta_agent.core.units import format_duration

logger = logging.getLogger(__name__)

#: Seconds for which a wait must not be seen before an open question counts as over: while other
#: processes of the run write, a wait is out of sight for a moment.
GONE_S: Final = 1.0


class Asker:
    """The watcher of one run's prompts while the run is followed."""

    def __init__(self, ctx: RunContext, shim: ProcessId) -> None:
        self._ctx = ctx
        self._shim = shim
        self._detector = InputDetector(ctx.directory, shim)
        self._is_off = not ctx.settings.auto_detect_input
        self._limit_s = limits.input_timeout_s(ctx.job, ctx.settings)
        self._current = ctx.records.questions.current(ctx.run.id)
        #: Whether the question was asked by an agent before us, and not seen by us yet.
        self._is_inherited = self._current is not None
        self._unseen_since: float | None = None
        #: Seconds since boot before which a look would be too early.
        self._look_at = 0.0

    def look(self) -> float:
        """Store what has changed; return the seconds after which to look again."""
        if self._is_off:
            return math.inf
        with self._ctx.agent.prompt_lock.lock:
            left = self._look_at - boot_seconds()
            if left > 0:
                return left
            waiting = self._detector.look()
            if waiting is None:
                self._note_no_wait()
            else:
                self._note_wait(waiting)
            self._look_at = boot_seconds() + self._detector.interval_s
            return self._detector.interval_s

    def answered(self) -> None:
        """Say that the script was given an answer: what is seen from now on is another wait."""
        self._detector.forget()
        self._look_at = 0.0
        if self._current is not None:
            self._current = dataclasses.replace(self._current, state=QuestionState.ANSWERED)

    def _note_wait(self, waiting: Waiting) -> None:
        self._unseen_since = None
        prompt = self._ctx.redactor.redact(waiting.prompt)
        if self._current is not None and self._is_another(self._current, waiting, prompt):
            self._close("the script went on to another one")
        self._is_inherited = False
        if self._current is None:
            self._ask(waiting, prompt)
        elif self._is_overdue(self._current):
            self._give_up(self._current)

    def _is_another(self, current: Question, waiting: Waiting, prompt: str) -> bool:
        if current.state is QuestionState.ANSWERED or current.pid != waiting.pid:
            return True
        sleeps = self._sleeps(waiting)
        if sleeps is not None and sleeps == current.sleeps:
            return False
        return self._is_inherited or prompt != current.prompt

    def _sleeps(self, waiting: Waiting) -> int | None:
        """Return what identifies this wait; None where the waiting process is guessed."""
        return None if waiting.pid == self._shim.pid else count_sleeps(waiting.pid)

    def _ask(self, waiting: Waiting, prompt: str) -> None:
        self._current = self._ctx.records.questions.ask(
            self._ctx.job,
            self._ctx.run,
            prompt=prompt,
            secret=waiting.secret,
            pid=waiting.pid,
            sleeps=self._sleeps(waiting),
        )
        logger.info(
            "job %d waits for input: %s (answer with: keruta input %d)",
            self._ctx.job.id,
            prompt or NO_PROMPT,
            self._ctx.job.id,
            extra={
                "action": "input_requested",
                "job": self._ctx.job.id,
                "task": self._ctx.job.task_id,
                "run": self._ctx.run.uid,
                "question": self._current.number,
            },
        )
        self._ctx.agent.prompt_lock.changed.set()
        self._ctx.agent.queue.outbox_filled()

    def _note_no_wait(self) -> None:
        if self._current is None:
            return
        now = boot_seconds()
        self._unseen_since = now if self._unseen_since is None else self._unseen_since
        is_answered = self._current.state is QuestionState.ANSWERED
        if is_answered or now - self._unseen_since >= GONE_S:
            self._close("the script went on without it")

    def _close(self, why: str) -> None:
        if self._current is not None:
            self._ctx.records.questions.close(self._ctx.job, self._ctx.run, self._current, why)
            self._current = None
            self._ctx.agent.queue.outbox_filled()

    def _is_overdue(self, current: Question) -> bool:
        return bool(self._limit_s) and boot_seconds() - current.asked_boot >= self._limit_s

    def _give_up(self, current: Question) -> None:
        self._ctx.agent.stops.request(
            self._ctx.job.id,
            StopKind.INPUT_TIMEOUT,
            f"Nobody answered within {format_duration(self._limit_s)}: "
            f"{current.prompt or NO_PROMPT}",
        )


def close(ctx: RunContext) -> None:
    """End the question of a run that has ended."""
    question = ctx.records.questions.current(ctx.run.id)
    if question is not None:
        ctx.records.questions.close(ctx.job, ctx.run, question, "the run ended")
