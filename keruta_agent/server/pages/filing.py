"""The form that files a task into a session."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from typing import Any, Self

from marshmallow import ValidationError
from starlette.responses import Response

from keruta_agent.http.bodies import LARGE_BODY
from keruta_agent.http.pages import page_setup
from keruta_agent.http.request import Request
from keruta_agent.http.routes import first_problem
from keruta_agent.server.pages import examples
from keruta_agent.server.pages.group import pages
from keruta_agent.server.resources import tasks as resource
from keruta_agent.server.routes import store_of
from keruta_agent.server.store import session_rows


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Form:
    name: str = ""
    description: str = ""
    script: str = ""
    priority: str = "0"
    parameters: str = ""

    @classmethod
    def sent(cls, request: Request) -> Self:
        # Browsers end lines as DOS does, and bash takes that for a part of the last word.
        texts = {
            field.name: request.fields.get(field.name, "").replace("\r\n", "\n")
            for field in dataclasses.fields(cls)
        }
        return cls(**texts)


class _Fault(Exception):
    """What is wrong with the form: the field, and why."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(field)
        self.field = field
        self.reason = reason


@pages.get("/sessions/{session_id}/new")
def show_form(request: Request, session_id: str) -> Response:
    """Show the form, empty or with the script of an example."""
    example = request.query_params.get("template", "")
    script = examples.scripts().get(example, "")
    form = _Form(name=example if script else "", script=script)
    return _page(request, session_id, form, None)


@pages.post("/sessions/{session_id}/tasks", largest=LARGE_BODY)
def file_task(request: Request, session_id: str) -> Response:
    """Files the task, or shows what is wrong with it."""
    form = _Form.sent(request)
    try:
        draft = _draft(form, page_setup.text(request))
    except _Fault as fault:
        return _page(request, session_id, form, fault)
    with store_of(request).writing() as change:
        resource.create_task(change, draft | {"session_id": session_id})
    return page_setup.go_to(request, f"/sessions/{session_id}?done=filed")


def _draft(form: _Form, t: Callable[..., str]) -> dict[str, Any]:
    if not form.name.strip():
        raise _Fault("name", t("file.fault.name"))
    try:
        priority = int(form.priority.strip() or "0")
    except ValueError:
        raise _Fault("priority", t("file.fault.priority")) from None
    body = {
        "name": form.name.strip(),
        "description": form.description,
        "script": form.script,
        "priority": priority,
        "parameters": _parameters(form, t),
    }
    try:
        draft: dict[str, Any] = resource.SubtaskDraft().load(body)
    except ValidationError as error:
        field, _ = first_problem(error.messages)
        raise _Fault(field, t(f"file.fault.{field}", reason=t("file.fault.nested"))) from None
    return draft


def _parameters(form: _Form, t: Callable[..., str]) -> dict[str, Any]:
    try:
        parameters = json.loads(form.parameters) if form.parameters.strip() else {}
    except json.JSONDecodeError as exc:
        reason = t("js.json.place", line=exc.lineno, column=exc.colno)
    except (ValueError, RecursionError):
        reason = t("file.fault.nested")
    else:
        if isinstance(parameters, dict):
            return parameters
        reason = t("js.json.shape")
    raise _Fault("parameters", t("file.fault.parameters", reason=reason))


def _page(request: Request, session_id: str, form: _Form, fault: _Fault | None) -> Response:
    store = store_of(request)
    with store.database.connected():
        session = session_rows.find(store.tables, session_id)
    return page_setup.page(
        request,
        "filing.html",
        200 if fault is None else 400,
        session=session,
        ended=session_rows.to_session(session).has_ended,
        form=form,
        fault=fault,
        examples=sorted(examples.scripts()),
    )
