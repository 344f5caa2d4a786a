"""Every error that a person may meet, with the exit code and the advice it carries.

The tree::

    KerutaError                     exit 1
    ├── UsageError                  exit 2   wrong arguments
    │   ├── NotFound                exit 2   no such job, task, file or key
    │   └── WrongState              exit 2   the job cannot be treated so in its state
    ├── SettingsError               exit 2   wrong or unreadable settings
    ├── AgentStateError             exit 1   the base directory, database or lock cannot be used
    │   ├── AlreadyRunning          exit 3   a second daemon
    │   ├── AgentBusy               exit 6   the agent takes no jobs now
    │   └── AgentOutdated           exit 1   the daemon that runs lacks the command
    ├── AgentUnreachable            exit 4   no daemon answers on the local socket
    │   └── AgentSilent             exit 4   one is there, stopped or too slow to answer
    ├── RunError                    exit 1   a script could not be started or followed
    │   └── WorkspaceError          exit 1   the session's repository could not be used
    ├── InputRefused                exit 1   nobody reads the answer for a script
    ├── NothingAsked                exit 1   nobody waits for this answer
    ├── ApiError                    exit 5   the keruta API
    │   ├── ApiUnreachable                   no connection: nothing was sent
    │   ├── ApiAmbiguous                     the request was sent and its answer is unknown
    │   ├── ApiOverloaded                    429, 502, 503, 504: try again later
    │   ├── ApiFailed                        500 and unreadable answers
    │   │   └── ApiBlocked                   something before the API keeps writes from it
    │   ├── ApiUnauthorized                  401, 403: the token is missing, wrong or expired
    │   └── ApiRefused                       any other 4xx: it will not become right by itself
    │       ├── ApiNotFound                  404
    │       ├── ApiConflict                  409: the move is illegal
    │       └── ApiUnsupported               this server lacks the route
    └── RunnerError                 exit 1   a coding task of the Agent Runner
        ├── TaskContextValidationError       what is to be done is not said, or wrongly
        ├── SlotAllocationError              the Repo Pool Manager lends no slot
        ├── WorkspacePreparationError        git cannot make the workspace ready
        ├── ImplementationError              the model gave nothing that can be used
        │   └── BudgetExceededError          tokens, money or rounds are used up
        ├── TestExecutionError               the tests of the change fail
        │   └── HangingTestsError            they do not end, before any change
        ├── PushError                        the branch cannot be pushed
        ├── ArtifactUploadError              evidence cannot be stored
        ├── PlaybookExecutionError           a playbook is wrong, or a step of it failed
        ├── ResourceLimitError               the run uses more than it may
        ├── SecurityError                    something was about to leave its bounds
        ├── TimeoutError                     the run takes too long
        ├── ServiceError                     a service refused, broke or cannot be reached
        │   └── ConnectionError              no connection could be made
        └── AuthenticationError              a service or the model does not accept the key

A message says what was being done and to what; ``advice`` says what to do now.
"""

from __future__ import annotations

import builtins


class KerutaError(Exception):
    """Root of the errors that are shown to a person in one line."""

    #: Exit code of a command that ends with this error.
    exit_code = 1
    #: What to do now, unless the raiser knows better.
    default_advice = ""

    def __init__(self, message: str, *, advice: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.advice = self.default_advice if advice is None else advice

    def __str__(self) -> str:
        return with_advice(self.message, self.advice)


def with_advice(message: str, advice: str) -> str:
    """Return a message and what to do about it as sentences of one line."""
    if not advice:
        return message
    return f"{message} {advice}" if message.endswith((".", "?", "!")) else f"{message}. {advice}"


class UsageError(KerutaError):
    """The command line is wrong."""

    exit_code = 2


class NotFound(UsageError):
    """What the command line names does not exist."""


class WrongState(UsageError):
    """What was asked for cannot be done to a job in its state."""


class SettingsError(KerutaError):
    """A setting is wrong, or the file that holds it cannot be read."""

    exit_code = 2


class AgentStateError(KerutaError):
    """The agent's own directory, database or lock cannot be used."""


class AlreadyRunning(AgentStateError):
    """Another daemon holds the lock of this base directory."""

    exit_code = 3


class AgentBusy(AgentStateError):
    """The agent that answers runs one job in the foreground and takes no others."""

    exit_code = 6


class AgentOutdated(AgentStateError):
    """The daemon that runs is of another version and lacks a command; nothing was done."""

    default_advice = (
        "Send it SIGHUP: it loads the installed version, and the script that runs goes on"
    )


class AgentUnreachable(KerutaError):
    """No daemon answers on the local socket."""

    exit_code = 4
    default_advice = "Start one with: keruta daemon"


class AgentSilent(AgentUnreachable):
    """A daemon runs and does not answer: it is stopped, or busy for too long."""

    default_advice = "Continue it with kill -CONT, or look into its log"


class RunError(KerutaError):
    """A script could not be prepared, started or followed."""


class WorkspaceError(RunError):
    """The session's repository could not be brought here, or its changes not back."""


class InputRefused(KerutaError):
    """The script cannot get this answer: it does not read, or the answer is too long."""


class NothingAsked(KerutaError):
    """The answer belongs to no open question."""

    default_advice = "See what waits with: keruta input"


class ApiError(KerutaError):
    """The keruta API did not do what was asked."""

    exit_code = 5

    def __init__(
        self,
        message: str,
        *,
        advice: str | None = None,
        status: int | None = None,
        retry_after_s: float | None = None,
        code: str = "",
    ) -> None:
        super().__init__(message, advice=advice)
        #: The server's own word for what is wrong, if it gave one.
        self.code = code
        #: HTTP status of the answer, if there was one.
        self.status = status
        #: Seconds that the server asked to wait, if it did.
        self.retry_after_s = retry_after_s


class ApiUnreachable(ApiError):
    """No connection could be made: the server has seen nothing."""

    default_advice = "Check that the server runs and that KERUTA_API_URL is right"


class ApiAmbiguous(ApiError):
    """The request left, its answer did not arrive: the server may have acted on it."""


class ApiOverloaded(ApiError):
    """The server asks to come back later (429, 502, 503, 504)."""


class ApiFailed(ApiError):
    """The server broke (500) or its answer cannot be read."""


class ApiBlocked(ApiFailed):
    """Something before the API answers writes in its place: a proxy, a redirect, a login page."""


class ApiUnauthorized(ApiError):
    """The server does not accept the token (401, 403)."""

    default_advice = "Check KERUTA_API_TOKEN: it is missing, wrong, expired, or not for this"


class ApiRefused(ApiError):
    """The server understood and refuses (4xx): sending it again will not help."""


class ApiNotFound(ApiRefused):
    """The session, task or other resource does not exist (404)."""


class ApiConflict(ApiRefused):
    """The write contradicts what the server holds (409)."""


class ApiUnsupported(ApiRefused):
    """The server lacks this route; it is remembered and not asked again for a while."""


class RunnerError(KerutaError):
    """A coding task could not be done."""


class TaskContextValidationError(RunnerError):
    """The description of a task lacks something, or says something impossible."""

    exit_code = 2


class SlotAllocationError(RunnerError):
    """The Repo Pool Manager lends no slot."""


class WorkspacePreparationError(RunnerError):
    """Git cannot bring a workspace to where a run is to begin."""


class ImplementationError(RunnerError):
    """The model gave nothing that can be used."""


class UnusableAnswerError(ImplementationError):
    """The model answers, and nothing can be done with it; asking again may help."""


class PromptTooLongError(ImplementationError):
    """A prompt does not fit into the model; ``share`` is about how much of it would."""

    def __init__(self, message: str, *, advice: str | None = None, share: float = 0.5) -> None:
        super().__init__(message, advice=advice)
        self.share = share


class NothingToDoError(ImplementationError):
    """The model changes nothing, and the tests pass without any change."""


class BudgetExceededError(ImplementationError):
    """The tokens, the money or the rounds that a run may use are used up."""


class TestExecutionError(RunnerError):
    """The tests of a change fail."""

    __test__ = False  # its name makes pytest curious


class HangingTestsError(TestExecutionError):
    """The tests do not end before anything is changed: no model can do something about it."""


class AttemptLostError(RunnerError):
    """Another attempt at the task has begun, or it was cancelled: this one must not push."""


class PushError(RunnerError):
    """A branch cannot be pushed."""


class ArtifactUploadError(RunnerError):
    """Evidence cannot be stored."""


class PlaybookExecutionError(RunnerError):
    """A playbook is wrong, or one of its steps failed."""


class ResourceLimitError(RunnerError):
    """A run uses more than it may."""


class SecurityError(RunnerError):
    """Something was about to leave the bounds that are set for a run."""


class TimeoutError(RunnerError, builtins.TimeoutError):
    """A run takes longer than it may."""


class ServiceError(RunnerError):
    """A service of the runner refused, broke, or cannot be reached."""

    def __init__(
        self, message: str, *, advice: str | None = None, status: int | None = None
    ) -> None:
        super().__init__(message, advice=advice)
        #: HTTP status of the answer, if there was one.
        self.status = status


class ConnectionError(ServiceError, builtins.ConnectionError):
    """No connection to a service could be made."""


class AuthenticationError(RunnerError):
    """A service, or the model's, does not accept the key."""
