"""The reports that a script waits for a person, what it asks, and that it goes on.

The way back needs care: on servers with an execution lock a second PROCESSING makes the task fail.
Those servers have no route for questions, so it is written only where the question was taken;
elsewhere the task stays WAITING_FOR_INPUT until its end.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from keruta_agent.agent.ports import KerutaApi
from keruta_agent.agent.store.outbox import Batch, Kind
from keruta_agent.agent.store.questions import Question, Questions, QuestionState
from keruta_agent.core import errors
from keruta_agent.core.model import StatusReport, TaskStatus

logger = logging.getLogger(__name__)

_Payload = Mapping[str, Any]


class InputRequests:
    """The sender of the outbox's requests for input; one that is over by then is not sent."""

    def __init__(
        self, api: KerutaApi, questions: Questions, *, processing_may_be_repeated: bool
    ) -> None:
        """Take whether the server accepts more than one PROCESSING for a task."""
        self._api = api
        self._questions = questions
        self._processing_may_be_repeated = processing_may_be_repeated
        #: Each method takes the batch and its payload, with its secrets masked.
        self.handlers: Final[Mapping[Kind, Callable[[Batch, _Payload], None]]] = {
            Kind.QUESTION: self._send_question,
            Kind.RESUMED: self._send_resumed,
        }

    def send(self, batch: Batch, payload: _Payload) -> None:
        """Send one batch; a task that has ended or is gone needs none."""
        try:
            self.handlers[batch.first.kind](batch, payload)
        except (errors.ApiNotFound, errors.ApiConflict) as exc:
            logger.info(
                "the question of task %s is not sent: %s",
                batch.first.task_id,
                exc,
                extra={"action": "question_untold", "task": batch.first.task_id},
            )

    def _question(self, batch: Batch, payload: _Payload) -> Question | None:
        run_id = batch.first.run_id
        return None if run_id is None else self._questions.get(run_id, int(payload["number"]))

    def _send_question(self, batch: Batch, payload: _Payload) -> None:
        question = self._question(batch, payload)
        is_new = not batch.may_have_arrived and not batch.first.attempts
        if question is None or (is_new and question.state is QuestionState.CLOSED):
            return
        self._write(batch, payload, TaskStatus.WAITING_FOR_INPUT)
        api_id = self._api.request_input(
            batch.first.task_id, payload["prompt"], secret=payload["secret"], key=batch.key
        )
        self._questions.note_sent(question.run_id, question.number, api_id)

    def _send_resumed(self, batch: Batch, payload: _Payload) -> None:
        question = self._question(batch, payload)
        if not self._processing_may_be_repeated and (question is None or not question.at_api):
            return
        if self._api.task(batch.first.task_id).status is not TaskStatus.WAITING_FOR_INPUT:
            return  # it was written before, or the task has ended, or never got the wait
        self._write(batch, payload, TaskStatus.PROCESSING)

    def _write(self, batch: Batch, payload: _Payload, status: TaskStatus) -> None:
        report = StatusReport(
            status=status, message=payload["message"], progress=payload["progress"]
        )
        self._api.write_status(batch.first.task_id, report, key=batch.key)
