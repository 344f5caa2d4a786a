"""The one table of commands: how each is read from JSON, and which function handles it.

The unix socket, the HTTP API and the command line are interfaces to it. They turn what they get
into a command, call ``execute``, and turn the result into their own answer; they decide nothing.

What a script may ask is less than what a person may: a script that uses an interface without a
credential of a person has the token of its own run, so commands about a run (``RunCommand``) are
checked against that token here, for every interface.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar, cast

from marshmallow import EXCLUDE, RAISE, Schema, ValidationError, fields, post_load, validate

from keruta_agent.agent.control import artifacts, commands, input, own_run, queue
from keruta_agent.agent.control.commands import UNKNOWN, Command, RunCommand
from keruta_agent.agent.control.control import Control
from keruta_agent.agent.store.jobs import Work
from keruta_agent.core import errors

ResultT = TypeVar("ResultT")

#: Up to the largest number that the database holds.
_JOB_NUMBERS: Final = validate.Range(min=0, max=2**63 - 1)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Entry:
    """One command of the table."""

    command: type[Command[Any]]
    #: Called with the control and the command; between them the run, for a ``RunCommand``.
    handler: Callable[..., Any]
    fields: Mapping[str, fields.Field[Any]]

    @functools.cached_property
    def schema(self) -> Schema:
        """The schema of the command's fields; a newer client may send more."""
        return Schema.from_dict(dict(self.fields))(unknown=EXCLUDE)


class _WorkSchema(Schema):
    class Meta:
        unknown = RAISE

    script = fields.String()
    command = fields.List(fields.String())
    directory = fields.String(allow_none=True)
    environment = fields.Dict(keys=fields.String(), values=fields.String())
    parameters = fields.Dict(keys=fields.String())

    @post_load
    def _make(self, values: dict[str, Any], **kwargs: Any) -> Work:
        return Work(**{**values, "command": tuple(values.get("command", ()))})


def _entry(
    command: type[Command[Any]], handler: Callable[..., Any], **schema: fields.Field[Any]
) -> tuple[str, Entry]:
    if issubclass(command, RunCommand):
        schema |= {"run": _text(required=True), "token": _text(required=True)}
    return command.NAME, Entry(command=command, handler=handler, fields=schema)


def _text(**options: Any) -> fields.Field[Any]:
    return fields.String(**options)


def _job() -> fields.Field[Any]:
    return fields.Integer(required=True, validate=_JOB_NUMBERS)


def _names() -> fields.Field[Any]:
    return fields.List(fields.String(), required=True, validate=validate.Length(min=1))


def _priority(**options: Any) -> fields.Field[Any]:
    whole = validate.Range(min=-(2**31), max=2**31 - 1)
    return fields.Integer(strict=True, validate=whole, **options)


TABLE: Final[Mapping[str, Entry]] = dict(
    (
        _entry(commands.Pause, queue.pause, reason=_text()),
        _entry(commands.Resume, queue.resume),
        _entry(commands.Move, queue.move, job=_job(), priority=_priority(required=True)),
        _entry(commands.Retry, queue.retry, job=_job(), key=_text()),
        _entry(commands.Cancel, queue.cancel, job=_job(), reason=_text()),
        _entry(
            commands.Submit,
            queue.submit,
            name=_text(required=True),
            priority=_priority(),
            work=fields.Nested(_WorkSchema, required=True),
            key=_text(),
        ),
        _entry(commands.SubmitTask, queue.submit_task, task=_text(required=True)),
        _entry(commands.Look, queue.look),
        _entry(commands.Flush, queue.flush),
        _entry(commands.Status, queue.status),
        _entry(
            commands.RemoveStoredArtifact,
            artifacts.remove_stored,
            names=_names(),
            task=_text(),
            job=fields.Integer(validate=_JOB_NUMBERS),
        ),
        _entry(
            commands.AnswerInput,
            input.answer_input,
            job=_job(),
            text=_text(required=True),
            number=fields.Integer(),
        ),
        _entry(
            commands.FeedInput, input.feed_input, job=_job(), data=_text(), ends=fields.Boolean()
        ),
        _entry(commands.Report, own_run.report, message=fields.Raw(required=True)),
        _entry(commands.ListArtifacts, own_run.list_artifacts),
        _entry(commands.RemoveArtifact, own_run.remove_artifact, names=_names()),
    )
)


def read(request: object) -> Command[Any]:
    """Return the command of a request.

    Raises:
        UsageError: the table has no such command, or its fields are wrong.
    """
    name = request.get("op") if isinstance(request, dict) else None
    entry = TABLE.get(name) if isinstance(name, str) else None
    if not isinstance(request, dict) or entry is None:
        raise errors.UsageError(f"{UNKNOWN}: {name!r}")
    given = {field: value for field, value in request.items() if value is not None}
    try:
        return entry.command(**entry.schema.load(given))
    except ValidationError as exc:
        raise errors.UsageError(f"the command {name} is not valid: {exc.messages}") from exc
    except UnicodeEncodeError as exc:
        raise errors.UsageError(f"the command {name} holds what is no text") from exc


def execute(control: Control, command: Command[ResultT]) -> ResultT:
    """Do a command, whichever interface it came by.

    Raises:
        UsageError: a script speaks for a run that is not its own.
        KerutaError: as its handler says.
    """
    handler = TABLE[command.NAME].handler
    if isinstance(command, RunCommand):
        run = own_run.authorized_run(control, command)
        return cast(ResultT, handler(control, run, command))
    return cast(ResultT, handler(control, command))
