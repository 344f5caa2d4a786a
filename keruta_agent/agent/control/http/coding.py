"""Coding tasks from a Dispatcher: each becomes a job of this agent, in the one queue for all."""

from __future__ import annotations

from typing import Any, Final

from marshmallow import fields

from keruta_agent.agent.control.commands import Submit
from keruta_agent.agent.control.http.job_schemas import NewJobAnswer
from keruta_agent.agent.control.http.routes import Resource
from keruta_agent.agent.control.http.services import Services
from keruta_agent.agent.control.table import execute
from keruta_agent.agent.store.jobs import Work
from keruta_agent.core import errors
from keruta_agent.http.bodies import LARGE_BODY
from keruta_agent.http.fields import FreeObject, Priority, StrictRequestSchema
from keruta_agent.http.problems import invalid

resource = Resource("coding", "Coding tasks, which the Agent Runner solves")

_LONGEST_NAME: Final = 100


class CodingDraft(StrictRequestSchema):
    """A task for the Agent Runner."""

    task = FreeObject(
        required=True,
        metadata={"description": "A TaskContext: task_id, spec_name, title, description, ..."},
    )
    priority = Priority(load_default=0)


class CodingAnswer(NewJobAnswer):
    """The job that solves the task; its state, events, log and cancelling are those of jobs."""

    task_id = fields.String(required=True)


@resource.route(
    "POST",
    "/api/v1/coding-tasks",
    body=CodingDraft,
    largest=LARGE_BODY,
    answer=CodingAnswer,
    status=201,
)
def queue_coding_task(services: Services, draft: dict[str, Any]) -> Any:
    """Queue a coding task; follow it as a job."""
    # Not before a Dispatcher comes: few agents have one.
    from keruta_agent.core.coding import context_file, validation

    settings = services.agent.settings
    try:
        context = context_file.from_values(draft["task"], timeout_s=int(settings.default_timeout_s))
        validation.check_filed(context, has_pool=settings.repo_pool_url is not None)
    except (errors.TaskContextValidationError, errors.SecurityError) as exc:
        raise invalid("task", str(exc)) from exc
    values = context.to_dict()
    said = {name: value for name, value in values.items() if value not in (None, "", [], {})}
    work = Work(parameters={"runner": said}, description=context.description)
    name = context.title[:_LONGEST_NAME]
    command = Submit(name=name, work=work, priority=draft["priority"])
    return {"job": execute(services.control, command).job, "task_id": context.task_id}
