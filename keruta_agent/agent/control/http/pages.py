"""The daemon's status page: what runs, what it writes and asks, what waits, and what is wrong.

The page itself only shows; each of its forms is one of the commands.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import flask

from keruta_agent.agent.control.commands import (
    AnswerInput,
    Cancel,
    Command,
    Move,
    Pause,
    Resume,
    Status,
)
from keruta_agent.agent.control.http.routes import current_services, problem_of
from keruta_agent.agent.control.http.services import Services
from keruta_agent.agent.control.serialize import date
from keruta_agent.agent.control.table import execute
from keruta_agent.agent.journey import pausing
from keruta_agent.agent.store.jobs import Job, JobState
from keruta_agent.core import errors
from keruta_agent.http.pages import page_setup
from keruta_agent.http.pages.forms import OPEN_VIEWS, add_forms
from keruta_agent.http.problems import Problem, invalid

pages = flask.Blueprint("status", __name__, template_folder="templates")
add_forms(pages, "agent.login.why")

_MOST_WAITING: Final = 100
_MOST_ENDED: Final = 20
_PRIORITY_STEP: Final = 1
_BY_PERSON: Final = "A person paused it on the status page"
#: Texts for the usual reasons of a pause; others are what a person wrote.
_PAUSES: Final = {pausing.REASON: "agent.paused.session", _BY_PERSON: "agent.paused.page"}
#: What is open to those who have not logged in.
_FOR_ALL: Final = frozenset({"page_setup.static", *(f"{pages.name}.{view}" for view in OPEN_VIEWS)})


def admit(request: flask.Request) -> None:
    """Admit a visitor.

    Raises:
        Problem: they have to log in (401), or what was sent is not from a form of the page (403).
    """
    if not (page_setup.visitor().welcome or request.endpoint in _FOR_ALL):
        raise Problem(401, "UNAUTHORIZED", "the page asks for the agent's token")
    if request.method == "POST":
        page_setup.visitor().check_form(request)


@pages.get("/")
def show_status() -> flask.Response:
    """Show what the daemon does, with the log of what runs or of the job that is asked for."""
    services = current_services()
    after = services.changes.newest()
    jobs, redactor = services.agent.records.jobs, services.agent.redaction.own
    status = redactor.redact_value(execute(services.control, Status()))
    waiting = jobs.listing(states=[JobState.WAITING, JobState.SCHEDULED], limit=_MOST_WAITING)
    ended = jobs.listing(states=[JobState.FINISHED], limit=_MOST_ENDED)
    shown = _shown_job(services, status, ended)
    return page_setup.page(
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


def _shown_job(services: Services, status: Any, ended: Sequence[Job]) -> Job | None:
    asked = flask.request.args.get("job", "")
    if asked:
        return _job(asked)
    if status["running"] is not None:
        return services.agent.records.jobs.get(int(status["running"]))
    return ended[0] if ended else None


@pages.post("/jobs/<int:job>/answer")
def answer(job: int) -> flask.Response:
    """Answer the question that the page showed."""
    form = flask.request.form
    number = _whole(form.get("question", ""), "question")
    text = form.get("answer", "")
    return _done(AnswerInput(job=job, text=text, number=number, source="http"), "answered")


@pages.post("/jobs/<int:job>/cancel")
def cancel(job: int) -> flask.Response:
    """Cancel a job, once the person has said so twice."""
    if flask.request.form.get("confirmed") != "yes":
        t = page_setup.text()
        return page_setup.page(
            "confirm.html",
            question=t("agent.cancel.sure", job=job),
            consequence=t("agent.cancel.then"),
            answer=t("agent.cancel"),
            back="/",
        )
    return _done(Cancel(job=job), "agent.cancelled")


@pages.post("/jobs/<int:job>/priority")
def move(job: int) -> flask.Response:
    """Have a waiting job run earlier or later."""
    step = _PRIORITY_STEP if flask.request.form.get("to") == "up" else -_PRIORITY_STEP
    priority = _job(str(job)).priority + step
    return _done(Move(job=job, priority=priority), "agent.moved")


@pages.post("/pause")
def pause() -> flask.Response:
    """Start no further job."""
    return _done(Pause(reason=_BY_PERSON), "agent.paused")


@pages.post("/resume")
def resume() -> flask.Response:
    """Start jobs again."""
    return _done(Resume(), "agent.resumed")


def _job(text: str) -> Job:
    try:
        return current_services().find_job(text)
    except errors.KerutaError as exc:
        raise problem_of(exc) from exc


def _done(command: Command[Any], what: str) -> flask.Response:
    try:
        execute(current_services().control, command)
    except errors.KerutaError as exc:
        raise problem_of(exc) from exc
    return page_setup.go_to(f"/?done={what}")


def _whole(text: str, field: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < 10):
        raise invalid(field, "must be a whole number")
    return int(text)
