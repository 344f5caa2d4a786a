"""What the Agent Runner and its services speak of: tasks to code, changes, results, artifacts.

The fields are those of the runner that this one takes the place of, in their order, so that code
written for it goes on working. It stands this low because the clients of the runner's services
and of the language model give these back.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import types
import typing
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, Final, Self

from marshmallow import Schema, ValidationError, fields

from keruta_agent.core import errors

MASK = "********"


class Record:
    """A dataclass that becomes plain JSON values and back.

    Paths are text there, enumerations their values, times ISO 8601.
    """

    #: Fields that leave as a mask and never come back.
    secret_fields: ClassVar[frozenset[str]] = frozenset()

    def to_dict(self) -> dict[str, Any]:
        """Return the values, ready for JSON; secrets are masked."""
        values = _schema_of(type(self))().dump(self)
        masked = {name: MASK for name in self.secret_fields if values.get(name)}
        return {**values, **masked}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Self:
        """Return the record that holds these values.

        Raises:
            TaskContextValidationError: a value is missing, of the wrong type, or unknown; the
                message names each.
        """
        try:
            values = _schema_of(cls)().load(data)
        except ValidationError as error:
            raise errors.TaskContextValidationError(
                f"cannot read a {cls.__name__}: {_listed(error.messages)}"
            ) from error
        return cls(**values)


#: The library's words, and plainer ones.
_WORDS: Final = {"Missing data for required field.": "it is missing"}


def _listed(messages: Any, path: str = "") -> str:
    if isinstance(messages, Mapping):
        return "; ".join(_listed(inner, f"{path}.{key}") for key, inner in messages.items())
    text = " ".join(map(str, messages))
    return f"{path.lstrip('.') or 'value'}: {_WORDS.get(text, text)}"


class RunnerState(enum.StrEnum):
    """What an orchestrator does."""

    IDLE = "idle"
    RUNNING = "running"
    COMPLETED = "completed"
    FAILED = "failed"


class ArtifactType(enum.StrEnum):
    """Kinds of evidence that a run leaves."""

    DIFF = "diff"
    LOG = "log"
    TEST_RESULT = "test"


@dataclasses.dataclass(frozen=True)
class TaskContext(Record):
    """A coding task, as a Dispatcher hands it to a runner.

    ``metadata["repo_url"]`` lets the runner take a slot from the Repo Pool Manager; slot_id and
    slot_path are needed only without it.
    """

    task_id: str
    spec_name: str
    title: str
    description: str
    acceptance_criteria: list[str] = dataclasses.field(default_factory=list)
    dependencies: list[str] = dataclasses.field(default_factory=list)
    required_skill: str = ""
    slot_path: Path | None = None
    slot_id: str = ""
    branch_name: str = ""
    test_commands: list[str] | None = None
    fail_fast: bool = True
    timeout_seconds: int = 1800
    playbook_path: Path | None = None
    complexity: str = "medium"
    require_review: bool = False
    related_files: list[str] | None = None
    max_tokens: int | None = None
    metadata: dict[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Workspace(Record):
    """A git work tree that belongs to a run until its slot is given back."""

    path: Path
    branch_name: str
    base_branch: str = "main"


@dataclasses.dataclass(frozen=True)
class CodeChange(Record):
    """One file that the model wants to be written or deleted.

    Beside whole contents (operations ``create``, ``modify``, ``delete``) an ``edit`` replaces
    passages: its content holds search/replace blocks or a unified diff.
    """

    file_path: str
    operation: str
    content: str = ""


@dataclasses.dataclass(frozen=True)
class LLMResponse(Record):
    """What a model answered."""

    code_changes: list[CodeChange]
    explanation: str
    model: str
    tokens_used: int
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclasses.dataclass(frozen=True)
class LLMConfig(Record):
    """Which model is asked, where, and with which key."""

    secret_fields: ClassVar[frozenset[str]] = frozenset({"api_key"})

    api_key: str | None = dataclasses.field(default=None, repr=False)
    model: str = "gpt-4"
    endpoint: str | None = None
    timeout_seconds: int = 120
    max_tokens: int = 4000


@dataclasses.dataclass(frozen=True)
class ImplementationResult(Record):
    """What came of asking the model."""

    success: bool
    diff: str
    files_changed: list[str]
    duration_seconds: float
    llm_model: str | None = None
    tokens_used: int | None = None
    error: str | None = None
    review_result: Any = None
    pair_session_id: str | None = None
    #: The changes of the last answer, whether they could be applied or not.
    code_changes: list[CodeChange] = dataclasses.field(default_factory=list)
    #: How often the model was asked.
    rounds: int = 1
    #: Name of the error's class, None after a success.
    error_type: str | None = None


@dataclasses.dataclass(frozen=True)
class SingleTestResult(Record):
    """One command, with what it printed."""

    command: str
    success: bool
    stdout: str
    stderr: str
    exit_code: int
    duration_seconds: float


@dataclasses.dataclass(frozen=True)
class TestResult(Record):
    """What the tests of a change said."""

    __test__ = False  # its name makes pytest curious

    success: bool
    test_results: list[SingleTestResult]
    total_duration_seconds: float


@dataclasses.dataclass(frozen=True)
class PushResult(Record):
    """What became of a push."""

    success: bool
    branch_name: str
    commit_hash: str
    retry_count: int
    error: str | None = None


@dataclasses.dataclass(frozen=True)
class Artifact(Record):
    """A stored piece of evidence."""

    type: ArtifactType
    uri: str
    size_bytes: int
    created_at: datetime


@dataclasses.dataclass(frozen=True)
class RunnerResult(Record):
    """How a run ended, with all evidence, also of a failure."""

    success: bool
    runner_id: str
    task_id: str
    duration_seconds: float
    artifacts: list[Artifact]
    error: str | None = None
    impl_result: ImplementationResult | None = None
    test_result: TestResult | None = None
    push_result: PushResult | None = None
    workspace_path: str | None = None
    concurrent_runners: int = 1
    #: Name of the error's class, None after a success.
    error_type: str | None = None


@dataclasses.dataclass(frozen=True)
class SlotAllocation(Record):
    """A place to work in, lent by the Repo Pool Manager."""

    slot_id: str
    slot_path: Path
    #: Tells this loan of the slot from earlier and later ones.
    lease_token: str | None = dataclasses.field(default=None, repr=False)


@dataclasses.dataclass(frozen=True)
class PlaybookStep(Record):
    """One command of a playbook."""

    name: str
    command: str
    condition: str | None = None
    fail_fast: bool = True
    timeout_seconds: int = 300
    retry_count: int = 0


@dataclasses.dataclass(frozen=True)
class Playbook(Record):
    """Commands that are run one after the other."""

    name: str
    steps: list[PlaybookStep]
    metadata: dict[str, Any] = dataclasses.field(default_factory=dict)


class _Text(fields.Field[str]):
    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> str:
        if not isinstance(value, str):
            raise ValidationError("It must be text.")
        return value


class _PathText(fields.Field[Path]):
    def _serialize(
        self, value: Path | None, attr: str | None, obj: Any, **kwargs: Any
    ) -> str | None:
        return None if value is None else str(value)

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> Path:
        if not isinstance(value, str | Path) or not str(value) or "\0" in str(value):
            raise ValidationError("It must be a path.")
        return Path(value)


_PLAIN: dict[Any, Callable[..., fields.Field[Any]]] = {
    str: _Text,
    bool: functools.partial(fields.Boolean, truthy={True}, falsy={False}),
    int: functools.partial(fields.Integer, strict=True),
    float: fields.Float,
    Path: _PathText,
    datetime: fields.DateTime,
    Any: fields.Raw,
}


def _schema_of(record: type[Record]) -> type[Schema]:
    """Build the marshmallow schema of a dataclass from its annotations."""
    hints = typing.get_type_hints(record)
    declared: dict[str, Any] = {}
    for field in dataclasses.fields(typing.cast("Any", record)):
        is_required = (
            field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
        )
        declared[field.name] = _field_of(hints[field.name], required=is_required)
    return Schema.from_dict(declared, name=record.__name__)


def _field_of(hint: Any, **options: Any) -> fields.Field[Any]:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:
        inner = next(argument for argument in arguments if argument is not types.NoneType)
        return _field_of(inner, **{**options, "allow_none": True})
    if origin is list:
        return fields.List(_field_of(arguments[0]), **options)
    if origin is dict:
        return fields.Dict(keys=_Text(), **options)
    if isinstance(hint, type) and issubclass(hint, Record):
        return _NestedRecord(hint, **options)
    if isinstance(hint, type) and issubclass(hint, enum.Enum):
        return fields.Enum(hint, by_value=True, **options)
    if hint is Any:
        options["allow_none"] = True
    return _PLAIN[hint](**options)


class _NestedRecord(fields.Field[Any]):
    def __init__(self, record: type[Record], **options: Any) -> None:
        super().__init__(**options)
        self.record = record

    def _serialize(self, value: Any, attr: str | None, obj: Any, **kwargs: Any) -> Any:
        return None if value is None else value.to_dict()

    def _deserialize(
        self, value: Any, attr: str | None, data: Mapping[str, Any] | None, **kwargs: Any
    ) -> Any:
        if isinstance(value, self.record):
            return value
        if not isinstance(value, Mapping):
            raise ValidationError("It must be a mapping.")
        loaded = _schema_of(self.record)().load(value)
        return self.record(**loaded)
