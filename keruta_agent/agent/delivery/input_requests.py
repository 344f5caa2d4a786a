"""Reports to the API that a script waits for a person, what it asks, and that it goes on.

The way back needs care: on servers with an execution lock a second PROCESSING makes the task fail.
Those servers have no route for questions, so it is written only where the question was taken;
elsewhere the task stays WAITING_FOR_INPUT until its end.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final

from keruta_agent.agent.ports import KerutaApi
from keruta_agent.agent.store.outbox import Kind, Parcel
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
        """Take whether the server is known to bear more than one PROCESSING for a task."""
        self._api = api
        self._questions = questions
        self._processing_may_be_repeated = processing_may_be_repeated
        #: Each method takes the parcel and what it tells, with its secrets masked.
        self.handlers: Final[Mapping[Kind, Callable[[Parcel, _Payload], None]]] = {
            Kind.QUESTION: self._send_question,
            Kind.RESUMED: self._send_resumed,
        }

    def send(self, parcel: Parcel, payload: _Payload) -> None:
        """Send one parcel; a task that has ended or is gone needs to be told nothing."""
        try:
            self.handlers[parcel.first.kind](parcel, payload)
        except (errors.ApiNotFound, errors.ApiConflict) as exc:
            logger.info(
                "task %s is not told of its question: %s",
                parcel.first.task_id,
                exc,
                extra={"action": "question_untold", "task": parcel.first.task_id},
            )

    def _question(self, parcel: Parcel, payload: _Payload) -> Question | None:
        run_id = parcel.first.run_id
        return None if run_id is None else self._questions.get(run_id, int(payload["number"]))

    def _send_question(self, parcel: Parcel, payload: _Payload) -> None:
        question = self._question(parcel, payload)
        is_new = not parcel.may_have_arrived and not parcel.first.attempts
        if question is None or (is_new and question.state is QuestionState.CLOSED):
            return
        self._write(parcel, payload, TaskStatus.WAITING_FOR_INPUT)
        api_id = self._api.request_input(
            parcel.first.task_id, payload["prompt"], secret=payload["secret"], key=parcel.key
        )
        self._questions.told_api(question.run_id, question.number, api_id)

    def _send_resumed(self, parcel: Parcel, payload: _Payload) -> None:
        question = self._question(parcel, payload)
        if not self._processing_may_be_repeated and (question is None or not question.at_api):
            return
        if self._api.task(parcel.first.task_id).status is not TaskStatus.WAITING_FOR_INPUT:
            return  # it was written before, or the task has ended, or was never told of the wait
        self._write(parcel, payload, TaskStatus.PROCESSING)

    def _write(self, parcel: Parcel, payload: _Payload, status: TaskStatus) -> None:
        report = StatusReport(
            status=status, message=payload["message"], progress=payload["progress"]
        )
        self._api.write_status(parcel.first.task_id, report, key=parcel.key)
