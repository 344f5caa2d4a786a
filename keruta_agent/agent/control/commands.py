"""The commands and their results, as plain data that every interface can carry.

``table`` says how each is read and who handles it. The names stand in requests of older and newer
versions of this program, so they never change; a new field of a command needs a default.
"""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final, Generic, TypeVar, cast

from keruta_agent.agent.store.jobs import CANCELLED_BY_A_PERSON, Work

ResultT = TypeVar("ResultT")

PAUSED_BY_A_PERSON: Final = "A person paused it"
#: How a daemon refuses a command that it lacks. Clients of later versions know it by this.
UNKNOWN: Final = "not a request that this agent knows"


def _new_key() -> str:
    return uuid.uuid4().hex


def _changed(record: Any) -> dict[str, Any]:
    """Return the fields of a dataclass that differ from their defaults, ready for JSON."""
    found = {}
    for field in dataclasses.fields(record):
        value = getattr(record, field.name)
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        if value != default:
            found[field.name] = _changed(value) if dataclasses.is_dataclass(value) else value
    return found


@dataclasses.dataclass(frozen=True, kw_only=True)
class Command(Generic[ResultT]):
    """Something that the agent is asked to do."""

    #: In requests on the socket.
    NAME: ClassVar[str]
    RESULT: ClassVar[type]
    #: Requests to the API for which its answer may have to wait.
    API_REQUESTS: ClassVar[int] = 0

    def to_request(self) -> dict[str, Any]:
        """Return the request; an older daemon refuses fields that it lacks, so defaults are out."""
        return {"op": self.NAME, **_changed(self)}

    def read_result(self, answer: Mapping[str, Any]) -> ResultT:
        """Return the result of this command from the answer of a daemon of any version."""
        if not dataclasses.is_dataclass(self.RESULT):
            return cast(ResultT, self.RESULT(answer))
        names = {field.name for field in dataclasses.fields(self.RESULT)}
        known = {name: value for name, value in answer.items() if name in names}
        return cast(ResultT, self.RESULT(**known))


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunCommand(Command[ResultT]):
    """A command of a script about its own run, for which it has the token."""

    run: str
    token: str = dataclasses.field(repr=False)


# Results.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Done:
    """The result of a command that returns nothing."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class QueueState:
    """Why no job starts, None when jobs do; and how many run."""

    paused: str | None
    running: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resumed(QueueState):
    """The queue after it was resumed."""

    was_paused: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Moved:
    """A job's place in the order: 1 runs next, None waits for its time."""

    job: int
    priority: int
    place: int | None
    #: Jobs that wait, this one among them.
    waiting: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cancelled:
    """A job and the state in which it was cancelled."""

    job: int
    was: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Submitted:
    """The job that was queued."""

    job: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Retried:
    """What a job became that runs once more: a new job here, or a new task at the API."""

    job: int | None = None
    task: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answered:
    """The number of the question that was answered."""

    question: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fed:
    """Whether the script's standard input took the data."""

    taken: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class ListedArtifacts:
    """The artifacts of a run's task or job."""

    artifacts: Sequence[Mapping[str, Any]]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RemovedArtifact:
    """The artifact that was removed, and its state at the API if it had reached it."""

    path: str
    was: str | None


# What people ask of the queue.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pause(Command[QueueState]):
    """Start no further job."""

    NAME = "pause"
    RESULT = QueueState

    reason: str = PAUSED_BY_A_PERSON

    def __post_init__(self) -> None:
        """Refuse what no database stores.

        Raises:
            UnicodeEncodeError: the reason holds half surrogates.
        """
        self.reason.encode()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Resume(Command[Resumed]):
    """Start jobs again."""

    NAME = "resume"
    RESULT = Resumed


@dataclasses.dataclass(frozen=True, kw_only=True)
class Move(Command[Moved]):
    """Give a waiting job another priority."""

    NAME = "move"
    RESULT = Moved

    job: int
    priority: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Retry(Command[Retried]):
    """Run a job that has ended once more, as a new one."""

    NAME = "retry"
    RESULT = Retried
    API_REQUESTS = 2

    job: int
    key: str = dataclasses.field(default_factory=_new_key)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cancel(Command[Cancelled]):
    """End a job; a running one is stopped."""

    NAME = "cancel"
    RESULT = Cancelled

    job: int
    reason: str = CANCELLED_BY_A_PERSON


@dataclasses.dataclass(frozen=True, kw_only=True)
class Submit(Command[Submitted]):
    """Queue an ad-hoc script."""

    NAME = "submit"
    RESULT = Submitted

    name: str
    work: Work = dataclasses.field(repr=False)
    priority: int = 0
    key: str = dataclasses.field(default_factory=_new_key)


@dataclasses.dataclass(frozen=True, kw_only=True)
class SubmitTask(Command[Submitted]):
    """Queue one task of the API."""

    NAME = "submit_task"
    RESULT = Submitted
    API_REQUESTS = 1

    task: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Look(Command[Done]):
    """Look at once for what may run: the records have changed."""

    NAME = "look"
    RESULT = Done


@dataclasses.dataclass(frozen=True, kw_only=True)
class Flush(Command[Done]):
    """Send what the outbox holds."""

    NAME = "flush"
    RESULT = Done


@dataclasses.dataclass(frozen=True, kw_only=True)
class Status(Command[dict[str, Any]]):
    """Tell what the daemon does at the moment."""

    NAME = "status"
    RESULT = dict


# What people ask of a task or job.


@dataclasses.dataclass(frozen=True, kw_only=True)
class RemoveStoredArtifact(Command[RemovedArtifact]):
    """Remove the first artifact of a task, or of a job that is none, with one of these names."""

    NAME = "remove_stored_artifact"
    RESULT = RemovedArtifact

    names: Sequence[str]
    task: str | None = None
    job: int | None = None


# What people give to the script that runs.


@dataclasses.dataclass(frozen=True, kw_only=True)
class AnswerInput(Command[Answered]):
    """Answer the open question of a job."""

    NAME = "input"
    RESULT = Answered

    job: int
    text: str = dataclasses.field(repr=False)
    #: The question that is meant, if it must be no other.
    number: int | None = None
    #: Where the answer comes from; the interface sets it, not the client.
    source: str = "command"


@dataclasses.dataclass(frozen=True, kw_only=True)
class FeedInput(Command[Fed]):
    """Pass a client's standard input to a job."""

    NAME = "stdin"
    RESULT = Fed

    job: int
    #: In base64: it need not be text.
    data: str = dataclasses.field(default="", repr=False)
    #: Whether the script sees the end of its input after that.
    ends: bool = False


# What a script asks for its own run.


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report(RunCommand[Done]):
    """Store a message about the run: its progress, a line for the log, its end, a secret."""

    NAME = "tell"
    RESULT = Done

    message: Any = dataclasses.field(repr=False)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ListArtifacts(RunCommand[ListedArtifacts]):
    """List the artifacts of the run's task or job."""

    NAME = "artifacts"
    RESULT = ListedArtifacts


@dataclasses.dataclass(frozen=True, kw_only=True)
class RemoveArtifact(RunCommand[RemovedArtifact]):
    """Remove the first artifact that has one of these names."""

    NAME = "remove_artifact"
    RESULT = RemovedArtifact

    names: Sequence[str]
