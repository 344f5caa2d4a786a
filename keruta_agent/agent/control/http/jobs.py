"""Jobs: what there is to do, what became of it, and commands about it."""

from __future__ import annotations

from typing import Any, Final

from keruta_agent.agent.control import serialize
from keruta_agent.agent.control.commands import Cancel, Move, Retry, Submit
from keruta_agent.agent.control.http.job_schemas import (
    AgainAnswer,
    CancelAnswer,
    JobAnswer,
    JobDraft,
    JobsQuery,
    JobSummary,
    NewJobAnswer,
    PlaceAnswer,
    PriorityDraft,
)
from keruta_agent.agent.control.http.routes import Resource
from keruta_agent.agent.control.http.services import Services
from keruta_agent.agent.control.table import execute
from keruta_agent.agent.store.artifacts import Owner
from keruta_agent.agent.store.jobs import JobState, Work
from keruta_agent.agent.store.run import Run
from keruta_agent.agent.store.usage import Usage
from keruta_agent.http.bodies import LARGE_BODY

resource = Resource("jobs", "Jobs: what there is to do, and what became of it")

#: Characters of a script's first line that become the job's name.
_LONGEST_NAME: Final = 100


@resource.route("GET", "/api/v1/jobs", query=JobsQuery, answer=JobSummary(many=True))
def list_jobs(services: Services, query: dict[str, Any]) -> Any:
    """Return what runs, then what waits in its order, then what ended, newest first."""
    states = [JobState(query["state"])] if "state" in query else []
    jobs = services.control.records.jobs.listing(states=states, limit=query["limit"])
    return services.agent.redaction.own.redact_value([serialize.job_to_json(job) for job in jobs])


@resource.route(
    "POST",
    "/api/v1/jobs",
    body=JobDraft,
    largest=LARGE_BODY,
    answer=NewJobAnswer,
    status=201,
)
def queue_job(services: Services, draft: dict[str, Any]) -> Any:
    """Queue a script or command, as ``keruta execute --detach`` does."""
    work = Work(
        script=draft.get("script", ""),
        command=tuple(draft.get("command", ())),
        directory=draft.get("directory"),
        environment=draft["environment"],
    )
    name = draft.get("name") or _name_of(work)
    command = Submit(name=name, work=work, priority=draft["priority"])
    return NewJobAnswer().dump(execute(services.control, command))


@resource.route("GET", "/api/v1/jobs/{job}", answer=JobAnswer)
def get_job(services: Services, job: str) -> Any:
    """Return a job, by its number or its task's id, with its runs and artifacts."""
    found = services.find_job(job)
    records = services.control.records
    owner = Owner(task_id=found.task_id, job_id=found.id)
    body = {
        **serialize.job_to_json(found),
        "runs": [_run(run, records.usages.get(run.id)) for run in records.runs.of_job(found.id)],
        "artifacts": [
            serialize.artifact_to_json(artifact) for artifact in records.artifacts.of(owner)
        ],
        "unsent": 0 if found.task_id is None else records.outbox.unsent(found.task_id),
    }
    return services.redactor_of(found).redact_value(body)


@resource.route("POST", "/api/v1/jobs/{job}/cancel", answer=CancelAnswer)
def cancel_job(services: Services, job: str) -> Any:
    """Cancel a job; a running one is stopped."""
    command = Cancel(job=services.find_job(job).id)
    return CancelAnswer().dump(execute(services.control, command))


# It may wait for the keruta API.
@resource.route("POST", "/api/v1/jobs/{job}/retry", answer=AgainAnswer, status=201, waits=True)
def retry_job(services: Services, job: str) -> Any:
    """Run a job that has ended once more, as a new job or, for a task, as a new task."""
    command = Retry(job=services.find_job(job).id)
    return AgainAnswer().dump(execute(services.control, command))


@resource.route("PUT", "/api/v1/jobs/{job}/priority", body=PriorityDraft, answer=PlaceAnswer)
def move_job(services: Services, draft: dict[str, Any], job: str) -> Any:
    """Give a waiting job another priority: higher runs first, the older first among equals."""
    command = Move(job=services.find_job(job).id, priority=draft["priority"])
    return PlaceAnswer().dump(execute(services.control, command))


def _run(run: Run, usage: Usage | None) -> dict[str, Any]:
    used = None if usage is None else serialize.usage_to_json(usage)
    return serialize.run_to_json(run) | {"usage": used}


def _name_of(work: Work) -> str:
    text = work.script or " ".join(work.command)
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#!")]
    return (lines[0].strip() if lines else "script")[:_LONGEST_NAME]
