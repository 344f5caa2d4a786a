"""The poll for answers at the API, while a script waits for one."""

from __future__ import annotations

import logging
import sqlite3
import threading

from keruta_agent.agent.journey.agent import Agent
from keruta_agent.agent.journey.input import answer
from keruta_agent.agent.ports import KerutaApi
from keruta_agent.agent.store.questions import AskedOf
from keruta_agent.core import errors

logger = logging.getLogger(__name__)


class AnswerPoll:
    """A thread that fetches answers. It sleeps while nothing is asked."""

    def __init__(self, agent: Agent, api: KerutaApi) -> None:
        self._agent = agent
        self._api = api
        self._is_stopped = False
        #: Questions whose answer was fetched, or cannot be.
        self._done: set[int] = set()
        self._thread = threading.Thread(target=self._work, name="answers", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end; a request that is under way ends with the process."""
        self._is_stopped = True
        self._agent.prompt_lock.changed.set()

    def join(self, timeout_s: float) -> None:
        """Wait for the end of the thread, in seconds."""
        self._thread.join(timeout_s)

    def _work(self) -> None:
        while True:
            self._agent.prompt_lock.changed.clear()
            if self._is_stopped:
                return
            try:
                waits = self._look()
            except sqlite3.Error as exc:  # the disk may be full; the question stays open
                waits = True
                logger.warning(
                    "cannot look for an answer now: %s", exc, extra={"action": "answers_failed"}
                )
            interval_s = self._agent.settings.poll_interval_s
            self._agent.prompt_lock.changed.wait(interval_s if waits else None)

    def _look(self) -> bool:
        """Fetch what was answered; return whether an answer may yet come from the API."""
        asked = [
            one
            for one in self._agent.records.questions.open_ones()
            if one.task_id is not None and one.question.id not in self._done
        ]
        for one in asked:
            # Before the API has taken the question, an answer there is to an earlier one.
            if one.question.at_api and not self._is_stopped:
                self._fetch(one, one.task_id or "")
        return bool(asked)

    def _fetch(self, one: AskedOf, task_id: str) -> None:
        question = one.question
        try:
            text = self._api.poll_input(task_id, question.api_id)
        except errors.ApiUnsupported as exc:
            self._done.add(question.id)
            logger.info(
                "the API is not asked for answers: %s", exc, extra={"action": "answers_unsupported"}
            )
            return
        except errors.ApiError as exc:
            logger.debug("cannot ask for the answer now: %s", exc, extra={"action": "api_failed"})
            return
        if text is None:
            return
        self._done.add(question.id)
        try:
            answer.give(self._agent, one.job_id, text, "api", number=question.number)
        except (errors.NotFound, errors.NothingAsked, errors.InputRefused) as exc:
            logger.warning(
                "an answer from the API is not used: %s",
                exc,
                extra={"action": "input_refused", "job": one.job_id, "task": task_id},
            )


def answer_poll(agent: Agent) -> AnswerPoll | None:
    """Return the poll for answers, if the settings ask for one."""
    if agent.api is None or not agent.settings.http_input:
        return None
    return AnswerPoll(agent, agent.api)
