"""What the Agent Runner and its services speak of: tasks to code, changes, results, artifacts.

The fields are those of the runner that this one takes the place of, in their order, so that code
written for it goes on working. It stands this low because the clients of the runner's services
and of the language model give these back.
"""

from __future__ import annotations

import dataclasses
import enum
from datetime import datetime
from pathlib import Path
from typing import Any, ClassVar, NoReturn, TypeVar

from keruta_agent.core.coding.record import Record
from keruta_agent.core.redaction.values import url_passwords

T = TypeVar("T")


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


def _advising(cls: type[T]) -> type[T]:
    """Have a frozen record say what to do instead: code of the old runner changed its fields."""

    def refuse(self: object, name: str, *_value: object) -> NoReturn:
        raise dataclasses.FrozenInstanceError(
            f"cannot change {name!r}: a {cls.__name__} stays what was asked for, since several "
            f"threads and reports rely on it. Use dataclasses.replace(context, {name}=...)"
        )

    cls.__setattr__ = refuse  # type: ignore[method-assign]
    cls.__delattr__ = refuse  # type: ignore[method-assign]
    return cls


@_advising
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
class LookRequest(Record):
    """Something that the model asks to see before it changes anything."""

    #: ``read``, ``search``, ``list`` or ``run``; as the model wrote it.
    action: str
    path: str = ""
    #: Lines to read, 0: all.
    first_line: int = 0
    last_line: int = 0
    pattern: str = ""
    command: str = ""


@dataclasses.dataclass(frozen=True)
class LLMResponse(Record):
    """What a model answered."""

    code_changes: list[CodeChange]
    explanation: str
    model: str
    tokens_used: int
    prompt_tokens: int = 0
    completion_tokens: int = 0
    #: What it asks for instead of changing anything.
    requests: list[LookRequest] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class LLMConfig(Record):
    """Which model is asked, where, and with which key."""

    secret_fields: ClassVar[frozenset[str]] = frozenset({"api_key", "headers", "query", "proxy"})

    api_key: str | None = dataclasses.field(default=None, repr=False)
    model: str = "gpt-4"
    endpoint: str | None = None
    timeout_seconds: int = 120
    max_tokens: int = 4000
    #: Sent with each request, beside what the runner sends; headers and proxy may hold keys.
    headers: dict[str, str] = dataclasses.field(default_factory=dict, repr=False)
    query: dict[str, str] = dataclasses.field(default_factory=dict, repr=False)
    extra_body: dict[str, Any] = dataclasses.field(default_factory=dict)
    #: Version of Azure's API.
    api_version: str | None = None
    ca_file: Path | None = None
    proxy: str | None = dataclasses.field(default=None, repr=False)
    #: Whether the model may ask by calling functions, beside the JSON of its answer.
    tool_calls: bool = False

    @property
    def secrets(self) -> list[str]:
        """The values that are nobody's business, beside the key."""
        values = [*self.headers.values(), *self.query.values()]
        return [*values, *url_passwords(self.proxy or "")]


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
    #: How often the model asked to see more.
    steps: int = 0
    #: What the tokens cost, in thousandths of a currency; 0 where no price is set.
    cost: float = 0.0


@dataclasses.dataclass(frozen=True)
class TestCounts(Record):
    """What a test framework says of the tests of one command."""

    __test__ = False  # its name makes pytest curious

    framework: str
    passed: int
    failed: int
    skipped: int
    #: The first that failed, by name.
    failing: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class SingleTestResult(Record):
    """One command, with what it printed."""

    command: str
    success: bool
    stdout: str
    stderr: str
    exit_code: int
    duration_seconds: float
    #: None where nothing is known but the exit code.
    tests: TestCounts | None = None
    timed_out: bool = False


@dataclasses.dataclass(frozen=True)
class TestResult(Record):
    """What the tests of a change said."""

    __test__ = False  # its name makes pytest curious

    success: bool
    test_results: list[SingleTestResult]
    total_duration_seconds: float
    #: Why the change is not accepted although the commands may have succeeded.
    faults: list[str] = dataclasses.field(default_factory=list)
    #: What of the change was taken back before the tests ran.
    reverted: list[str] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(frozen=True)
class Verification(Record):
    """How far the tests of a run can be relied on."""

    #: ``tested``, or ``untested`` where no test command decided.
    status: str
    #: What that rests on, in words.
    basis: str = ""
    #: What the commands said before the first change, one line each.
    baseline: list[str] = dataclasses.field(default_factory=list)
    #: Changes to what decides, which were taken back.
    reverted: list[str] = dataclasses.field(default_factory=list)
    #: Changes to what decides, which the task allows.
    allowed: list[str] = dataclasses.field(default_factory=list)
    #: New tests that fail without the change and pass with it, and new tests that do not.
    new_tests: list[str] = dataclasses.field(default_factory=list)
    not_counted: list[str] = dataclasses.field(default_factory=list)
    #: Tests that ended differently on the same files.
    flaky: list[str] = dataclasses.field(default_factory=list)


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
    #: None where the run did not come to its workspace.
    verification: Verification | None = None


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
