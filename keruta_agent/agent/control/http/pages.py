"""The daemon's status page: what runs, what it writes and asks, what waits, and what is wrong.

The page itself only shows; each of its forms is one of the commands.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from starlette.responses import Response

from keruta_agent.agent.control.commands import (
    AnswerInput,
    Cancel,
    Command,
    Move,
    Pause,
    Resume,
    Status,
)
from keruta_agent.agent.control.http.routes import errors_refused, services_of
from keruta_agent.agent.control.serialize import date
from keruta_agent.agent.control.table import execute
from keruta_agent.agent.journey import pausing
from keruta_agent.agent.store.jobs import Job, JobState
from keruta_agent.http.pages import page_setup
from keruta_agent.http.pages.forms import add_forms
from keruta_agent.http.pages.page_setup import Pages
from keruta_agent.http.problems import invalid
from keruta_agent.http.request import Request

pages: Final = Pages("status", templates=Path(__file__).parent / "templates")
add_forms(pages, "agent.login.why")

_MOST_WAITING: Final = 100
_MOST_ENDED: Final = 20
_PRIORITY_STEP: Final = 1
_BY_PERSON: Final = "A person paused it on the status page"
#: Texts for the usual reasons of a pause; others are what a person wrote.
_PAUSES: Final = {pausing.REASON: "agent.paused.session", _BY_PERSON: "agent.paused.page"}


@pages.get("/")
def show_status(request: Request) -> Response:
    """Show what the daemon does, with the log of what runs or of the job that is asked for."""
    services = services_of(request)
    after = services.changes.newest()
    jobs, redactor = services.agent.records.jobs, services.agent.redaction.own
    status = redactor.redact_value(execute(services.control, Status()))
    waiting = jobs.listing(states=[JobState.WAITING, JobState.SCHEDULED], limit=_MOST_WAITING)
    ended = jobs.listing(states=[JobState.FINISHED], limit=_MOST_ENDED)
    shown = _shown_job(request, status, ended)
    return page_setup.page(
        request,
        "status.html",
        agent=status,
        waiting=redactor.redact_value([_to_json(job) for job in waiting]),
        ended=redactor.redact_value([_to_json(job) for job in ended]),
        hindrances=services.hindrances(),
        pauses=_PAUSES,
        shown=redactor.redact_value(_to_json(shown)) if shown else None,
        after=str(after),
    )


def _to_json(job: Job) -> dict[str, Any]:
    return {
        "id": job.id,
        "name": job.name,
        "priority": job.priority,
        "outcome": job.outcome,
        "message": job.message,
        "ended": date(job.finished_at),
    }


def _shown_job(request: Request, status: Any, ended: Sequence[Job]) -> Job | None:
    asked = request.query_params.get("job", "")
    if asked:
        return _job(request, asked)
    if status["running"] is not None:
        return services_of(request).agent.records.jobs.get(int(status["running"]))
    return ended[0] if ended else None


@pages.post("/jobs/{job:int}/answer")
def answer(request: Request, job: int) -> Response:
    """Answer the question that the page showed."""
    number = _whole(request.fields.get("question", ""), "question")
    text = request.fields.get("answer", "")
    command = AnswerInput(job=job, text=text, number=number, source="http")
    return _done(request, command, "answered")


@pages.post("/jobs/{job:int}/cancel")
def cancel(request: Request, job: int) -> Response:
    """Cancel a job, once the person has said so twice."""
    if request.fields.get("confirmed") != "yes":
        t = page_setup.text(request)
        return page_setup.page(
            request,
            "confirm.html",
            question=t("agent.cancel.sure", job=job),
            consequence=t("agent.cancel.then"),
            answer=t("agent.cancel"),
            back="/",
        )
    return _done(request, Cancel(job=job), "agent.cancelled")


@pages.post("/jobs/{job:int}/priority")
def move(request: Request, job: int) -> Response:
    """Have a waiting job run earlier or later."""
    step = _PRIORITY_STEP if request.fields.get("to") == "up" else -_PRIORITY_STEP
    priority = _job(request, str(job)).priority + step
    return _done(request, Move(job=job, priority=priority), "agent.moved")


@pages.post("/pause")
def pause(request: Request) -> Response:
    """Start no further job."""
    return _done(request, Pause(reason=_BY_PERSON), "agent.paused")


@pages.post("/resume")
def resume(request: Request) -> Response:
    """Start jobs again."""
    return _done(request, Resume(), "agent.resumed")


def _job(request: Request, text: str) -> Job:
    with errors_refused():
        return services_of(request).find_job(text)


def _done(request: Request, command: Command[Any], what: str) -> Response:
    with errors_refused():
        execute(services_of(request).control, command)
    return page_setup.go_to(request, f"/?done={what}")


def _whole(text: str, field: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise invalid(field, "must be a whole number")
    return int(text)
