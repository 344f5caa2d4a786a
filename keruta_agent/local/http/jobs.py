"""Jobs: what there is to do, what became of it, and orders about it."""

from __future__ import annotations

from typing import Any, Final

from marshmallow import Schema, ValidationError, fields, validate, validates_schema

from keruta_agent import wire
from keruta_agent.local.http.routes import Resource
from keruta_agent.local.http.services import Services
from keruta_agent.local.status import date
from keruta_agent.records.jobs import Job, JobState, Work
from keruta_agent.records.run import Run
from keruta_agent.web.bodies import repair_text
from keruta_agent.web.fields import Name, Priority, Request

resource = Resource("jobs", "Jobs: what there is to do, and what became of it")

MOST_JOBS: Final = 1000
#: Characters of a script's first line that become the job's name.
_LONGEST_NAME: Final = 100


class JobsQuery(Request):
    """Which jobs."""

    state = fields.String(validate=validate.OneOf([state.value for state in JobState]))
    limit = fields.Integer(
        load_default=100, strict=False, validate=validate.Range(min=1, max=MOST_JOBS)
    )


class Plain(fields.String):
    """Text that reaches programs of the system: nothing that these cannot be given."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs) or ""
        if repair_text(text) != text:
            raise ValidationError("Must not hold NUL or half surrogates.")
        return text


class VariableName(Plain):
    """Name of an environment variable."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> str:
        text = super()._deserialize(value, attr, data, **kwargs)
        if not text or "=" in text:
            raise ValidationError("Must not be empty and hold no equals sign.")
        return text


class JobDraft(Request):
    """A script or a command to run; one of both."""

    name = Name()
    priority = Priority(load_default=0)
    script = Plain(metadata={"description": "Its first line may name what runs it."})
    command = fields.List(
        Plain(), validate=validate.Length(min=1), metadata={"description": "Program and arguments."}
    )
    directory = Plain(
        metadata={"description": "Where it runs; absolute. The agent's own working directory else."}
    )
    environment = fields.Dict(keys=VariableName(), values=Plain(), load_default=dict)

    @validates_schema
    def _check_work(self, data: dict[str, Any], **kwargs: Any) -> None:
        script, command = data.get("script"), data.get("command")
        if (script is None) == (command is None):
            raise ValidationError("Give either a script or a command.", "script")
        if script is not None and not script.strip():
            raise ValidationError("Must not be blank.", "script")
        if command is not None and not command[0].strip():
            raise ValidationError("Must begin with a program.", "command")
        if not data.get("directory", "/").startswith("/"):
            raise ValidationError("Must be an absolute path.", "directory")


class PriorityDraft(Request):
    """A place in the order."""

    priority = Priority(required=True)


class RunAnswer(Schema):
    """One execution of a job."""

    number = fields.Integer(required=True)
    started_at = wire.AnyDate(required=True)
    ended_at = wire.AnyDate(required=True, allow_none=True)
    outcome = fields.String(required=True, allow_none=True)
    exit_code = fields.Integer(required=True, allow_none=True)
    signal = fields.Integer(required=True, allow_none=True)
    message = fields.String(required=True)
    progress = fields.Integer(required=True)
    progress_message = fields.String(required=True)


class JobSummary(Schema):
    """A job."""

    id = fields.Integer(required=True)
    task = fields.String(required=True, allow_none=True)
    session = fields.String(required=True)
    name = fields.String(required=True)
    priority = fields.Integer(required=True)
    state = fields.String(required=True)
    outcome = fields.String(required=True, allow_none=True)
    message = fields.String(required=True)
    exit_code = fields.Integer(required=True, allow_none=True)
    filed_at = wire.AnyDate(required=True)
    finished_at = wire.AnyDate(required=True, allow_none=True)
    stop_reason = fields.String(required=True, allow_none=True)


class JobAnswer(JobSummary):
    """A job with its runs."""

    runs = fields.List(fields.Nested(RunAnswer), required=True)
    unsent = fields.Integer(
        required=True, metadata={"description": "Messages that have yet to reach the API."}
    )


class NewJobAnswer(Schema):
    """Number of a job that was queued."""

    job = fields.Integer(required=True)


class CancelAnswer(NewJobAnswer):
    """A job that was cancelled, and the state in which it was."""

    was = fields.String(required=True)


class AgainAnswer(Schema):
    """What a job became that runs once more."""

    job = fields.Integer(required=True, allow_none=True)
    task = fields.String(required=True, allow_none=True)


class PlaceAnswer(NewJobAnswer):
    """A job's place in the order, 1 for the next one; null when it waits for its time."""

    priority = fields.Integer(required=True)
    place = fields.Integer(required=True, allow_none=True)


@resource.route("GET", "/api/v1/jobs", query=JobsQuery, answer=JobSummary(many=True))
def list_jobs(services: Services, query: dict[str, Any]) -> Any:
    """Returns what runs, then what waits in its order, then what ended, newest first."""
    states = [JobState(query["state"])] if "state" in query else []
    jobs = services.agent.jobs.listing(states=states, limit=query["limit"])
    return services.agent.redaction.own.redact_value([summary(job) for job in jobs])


@resource.route("POST", "/api/v1/jobs", body=JobDraft, answer=NewJobAnswer, status=201)
def queue_job(services: Services, draft: dict[str, Any]) -> Any:
    """Queues a script or command, as ``keruta execute --detach`` does."""
    work = Work(
        script=draft.get("script", ""),
        command=tuple(draft.get("command", ())),
        directory=draft.get("directory"),
        environment=draft["environment"],
    )
    name = draft.get("name") or _name_of(work)
    return {"job": services.orders.submit(name, work, priority=draft["priority"])}


@resource.route("GET", "/api/v1/jobs/<job>", answer=JobAnswer)
def get_job(services: Services, job: str) -> Any:
    """Returns a job, by its number or its task's id, with its runs."""
    found = services.orders.find(job)
    outbox = services.agent.outbox
    body = {
        **summary(found),
        "runs": [_run(run) for run in services.agent.runs.of_job(found.id)],
        "unsent": 0 if found.task_id is None else outbox.unsent(found.task_id),
    }
    return services.redactor_of(found).redact_value(body)


@resource.route("POST", "/api/v1/jobs/<job>/cancel", answer=CancelAnswer)
def cancel_job(services: Services, job: str) -> Any:
    """Cancels a job; a running one is stopped."""
    found = services.orders.find(job)
    return {"job": found.id, "was": services.orders.cancel(found.id).value}


@resource.route("POST", "/api/v1/jobs/<job>/retry", answer=AgainAnswer, status=201)
def retry_job(services: Services, job: str) -> Any:
    """Has a job that has ended run once more, as a new job or, for a task, as a new task."""
    filed = services.orders.retry(services.orders.find(job))
    return {"job": filed.job_id, "task": filed.task_id}


@resource.route("PUT", "/api/v1/jobs/<job>/priority", body=PriorityDraft, answer=PlaceAnswer)
def move_job(services: Services, draft: dict[str, Any], job: str) -> Any:
    """Gives a waiting job another priority: higher runs first, the older first among equals."""
    found = services.orders.find(job)
    services.orders.move(found, draft["priority"])
    waiting = services.agent.jobs.waiting_ids()
    place = waiting.index(found.id) + 1 if found.id in waiting else None
    return {"job": found.id, "priority": draft["priority"], "place": place}


def summary(job: Job) -> dict[str, Any]:
    """Returns a job without what it executes, which may hold secrets of any shape."""
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


def _run(run: Run) -> dict[str, Any]:
    names = ("number", "exit_code", "signal", "message", "progress", "progress_message")
    return {name: getattr(run, name) for name in names} | {
        "started_at": date(run.claimed_at),
        "ended_at": date(run.ended_at),
        "outcome": None if run.outcome is None else run.outcome.value,
    }


def _name_of(work: Work) -> str:
    text = work.script or " ".join(work.command)
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#!")]
    return (lines[0].strip() if lines else "script")[:_LONGEST_NAME]
