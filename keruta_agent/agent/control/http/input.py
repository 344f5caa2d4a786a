"""What scripts ask of a person, and the person's answers."""

from __future__ import annotations

from typing import Any, Final

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from keruta_agent.agent.control.commands import AnswerInput
from keruta_agent.agent.control.http.job_schemas import Plain
from keruta_agent.agent.control.http.routes import Resource
from keruta_agent.agent.control.http.services import Services
from keruta_agent.agent.control.serialize import question_to_json
from keruta_agent.agent.control.table import execute
from keruta_agent.agent.store.jobs import Job
from keruta_agent.core import wire
from keruta_agent.http.fields import StrictRequestSchema
from keruta_agent.http.routes import Answer

resource = Resource("input", "What scripts ask of a person, and the person's answers")

_NOTHING_ASKED: Final = Answer(body=None, status=204)


class InputDraft(StrictRequestSchema):
    """An answer; a missing line end is added. ``input`` is what the keruta API calls it."""

    text = Plain()
    input = Plain()
    number = fields.Integer(
        strict=True,
        validate=validate.Range(min=1, max=2**31 - 1),
        metadata={"description": "The question that is meant, if it must be no other."},
    )

    @validates_schema
    def _check_text(self, data: dict[str, Any], **kwargs: Any) -> None:
        if ("text" in data) == ("input" in data):
            raise ValidationError("Give the answer, once.", "text")


class QuestionAnswer(Schema):
    """A question of a running script."""

    job = fields.Integer(required=True)
    task = fields.String(required=True, allow_none=True)
    name = fields.String(required=True)
    number = fields.Integer(required=True, metadata={"description": "1 for the run's first."})
    prompt = fields.String(required=True)
    secret = fields.Boolean(required=True)
    asked_at = wire.AnyDate(required=True)


class AnsweredAnswer(Schema):
    """Which question was answered."""

    job = fields.Integer(required=True)
    number = fields.Integer(required=True)


@resource.route("GET", "/api/v1/input", answer=QuestionAnswer(many=True))
def list_questions(services: Services) -> Any:
    """Return all questions that wait for an answer."""
    found = [question_to_json(asked) for asked in services.agent.records.questions.open_ones()]
    return services.agent.redaction.own.redact_value(found)


@resource.route("GET", "/api/v1/jobs/{job}/input", answer=QuestionAnswer, also=(204, None))
def get_question(services: Services, job: str) -> Any:
    """Return what a job waits for; 204 when it waits for nothing."""
    return _question_of(services, services.find_job(job))


@resource.route("POST", "/api/v1/jobs/{job}/input", body=InputDraft, answer=AnsweredAnswer)
def answer_job(services: Services, draft: dict[str, Any], job: str) -> Any:
    """Give a job the answer that it waits for."""
    return _answer(services, services.find_job(job), draft)


@resource.route("GET", "/api/v1/tasks/{task}/input", answer=QuestionAnswer, also=(204, None))
def get_question_of_task(services: Services, task: str) -> Any:
    """Return what a task waits for; 204 when it waits for nothing."""
    return _question_of(services, services.find_job(task))


@resource.route("POST", "/api/v1/tasks/{task}/input", body=InputDraft, answer=AnsweredAnswer)
def answer_task(services: Services, draft: dict[str, Any], task: str) -> Any:
    """Give a task the answer that it waits for."""
    return _answer(services, services.find_job(task), draft)


def _question_of(services: Services, job: Job) -> Any:
    for asked in services.agent.records.questions.open_ones():
        if asked.job_id == job.id:
            return services.redactor_of(job).redact_value(question_to_json(asked))
    return _NOTHING_ASKED


def _answer(services: Services, job: Job, draft: dict[str, Any]) -> Any:
    text = draft["text"] if "text" in draft else draft["input"]
    command = AnswerInput(job=job.id, text=text, number=draft.get("number"), source="http")
    return {"job": job.id, "number": execute(services.control, command).question}
