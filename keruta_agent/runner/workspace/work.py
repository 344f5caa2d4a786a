"""The part of a run that needs a workspace: from the branch to the push."""

from __future__ import annotations

import dataclasses
import hashlib
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from keruta_agent.core import errors
from keruta_agent.core.coding import branches
from keruta_agent.core.coding.fence import Fence
from keruta_agent.core.coding.model import (
    Artifact,
    ImplementationResult,
    Playbook,
    PushResult,
    TaskContext,
    TestResult,
    Verification,
    Workspace,
)
from keruta_agent.core.coding.validation import BASELINE
from keruta_agent.core.redaction.redactor import Redactor
from keruta_agent.git.access.credentials import GitAccess
from keruta_agent.git.commit import ATTEMPT_TRAILER, RUNNER_TRAILER
from keruta_agent.git.config import user as user_config
from keruta_agent.git.url import RepositoryUrl, parse
from keruta_agent.runner.checks import home, verification
from keruta_agent.runner.checks.checks import Checks
from keruta_agent.runner.checks.commands import CommandExecutor
from keruta_agent.runner.checks.deciding import Deciding
from keruta_agent.runner.checks.detection import detect
from keruta_agent.runner.checks.guard import Guard
from keruta_agent.runner.checks.playbooks import PlaybookEngine
from keruta_agent.runner.checks.results.reading import Results
from keruta_agent.runner.checks.testing import TestRunner
from keruta_agent.runner.checks.trials import Trials
from keruta_agent.runner.config import RunnerConfig
from keruta_agent.runner.deadline import Deadline
from keruta_agent.runner.reporting import Reporter
from keruta_agent.runner.workspace.repository import WorkspaceAccess
from keruta_agent.runner.workspace.workspaces import WorkspaceManager

_LONGEST_TITLE: Final = 200
#: One test command may take this part of a task's time: it runs before and after the change.
_SHARE: Final = 3


class Executor(Protocol):
    """Ask the model to write the change."""

    def execute(self, task_context: TaskContext, workspace: Workspace) -> ImplementationResult:
        """Return what came of it."""


#: Makes one whose rounds are checked by these checks.
MakeExecutor = Callable[[Checks], Executor]


@dataclasses.dataclass
class Evidence:
    """What a run has produced so far; a run that fails reports it too."""

    context: TaskContext
    implementation: ImplementationResult | None = None
    tests: TestResult | None = None
    push: PushResult | None = None
    workspace: Workspace | None = None
    verification: Verification | None = None
    artifacts: list[Artifact] = dataclasses.field(default_factory=list)
    #: Whether the Artifact Store has all of it.
    is_stored: bool = False


class Work:
    """The part of a run that needs a workspace."""

    def __init__(
        self,
        *,
        config: RunnerConfig,
        make_executor: MakeExecutor,
        evidence: Evidence,
        deadline: Deadline,
        reporter: Reporter,
        redactor: Redactor,
        secrets: tuple[str, ...],
        directory: Path,
        fence: Fence | None = None,
    ) -> None:
        """Take all that the run works with; ``directory`` is a private one for its helpers."""
        self._fence = fence
        hidden = config.key_variables
        self._config = config
        self._directory = directory
        self._make_executor = make_executor
        self._evidence = evidence
        self._deadline = deadline
        self._reporter = reporter
        self._redactor = redactor
        self._mark = f"{RUNNER_TRAILER}: {_digest(evidence.context)}"
        self._commands = CommandExecutor(
            max_memory_mb=config.max_memory_mb,
            secrets=secrets,
            hidden=hidden,
            on_line=reporter.say,
            home_directory=home.make(directory / "home", user_config.current().identity),
        )
        self._playbooks = PlaybookEngine(
            self._commands, secrets=secrets, hidden=hidden, on_step=reporter.say
        )
        self._workspaces = WorkspaceManager(
            config.git_retry_config,
            deadline=deadline,
            access=WorkspaceAccess(
                servers=GitAccess(
                    token=os.environ.get(config.git_token_env_var, "").strip() or None,
                    username=config.git_username,
                    token_hosts=config.git_token_hosts,
                ),
                login=_login(evidence.context),
                hidden=hidden,
            ),
            index=directory / "index",
            signs=config.git_sign,
        )

    def do(self, playbook: Playbook | None) -> None:
        """Change, tests, commits and pushes."""
        context, reporter = self._evidence.context, self._reporter
        reporter.step("workspace", f"prepares {context.branch_name}", 10)
        workspace = self._evidence.workspace = self._workspaces.prepare_workspace(
            context.slot_path or self._own_clone(context),
            context.branch_name,
            str(context.metadata.get("base_branch") or "") or None,
        )
        reporter.event(
            "workspace_prepared",
            {"branch_name": workspace.branch_name, "base_branch": workspace.base_branch},
        )
        self._workspaces.check_signing(workspace, reporter.say)
        checks = self._checks(workspace, playbook)
        try:
            self._implement(checks)
        except BaseException:
            self._take_evidence(checks)
            raise
        self._take_evidence(checks)
        self._publish(workspace, checks)

    def _own_clone(self, context: TaskContext) -> Path:
        """Clone the task's repository for this run alone: no slot of a pool reaches here."""
        if context.slot_id:
            raise errors.WorkspacePreparationError("The pool gave no path for its slot")
        return self._workspaces.clone(
            self._directory / "clone",
            str(context.metadata.get("repo_url")),
            mirrors=self._config.git_mirrors,
            say=self._reporter.say,
        )

    def _checks(self, workspace: Workspace, playbook: Playbook | None) -> Checks:
        context = self._evidence.context
        base = self._workspaces.stage(workspace)
        guard = Guard.of(self._workspaces.git(workspace.path))
        named = context.test_commands
        commands = tuple(detect(workspace.path) if named is None else named)
        deciding = Deciding(
            self._workspaces.trees(workspace, self._directory / "index-of-trees"),
            base,
            commands,
            context,
            more=self._config.test_files,
        )
        limit_s = self._config.test_timeout_seconds or context.timeout_seconds / _SHARE
        trials = Trials(
            context=context,
            workspace=workspace,
            workspaces=self._workspaces,
            tests=TestRunner(self._commands, results=Results(self._directory), limit_s=limit_s),
            deciding=deciding,
            guard=guard,
            deadline=self._deadline,
            commands=commands,
        )
        trials.begin()
        return Checks(
            context=context,
            workspace=workspace,
            workspaces=self._workspaces,
            trials=trials,
            deciding=deciding,
            playbooks=self._playbooks,
            playbook=playbook,
            guard=guard,
            deadline=self._deadline,
            reporter=self._reporter,
        )

    def _implement(self, checks: Checks) -> None:
        self._deadline.check()
        if self._config.runs_baseline and checks.context.metadata.get(BASELINE, True):
            checks.run_baseline()
        if self._is_done_before(checks):
            return
        self._reporter.step("implement", "asks the model for the change", 20)
        result = self._make_executor(checks).execute(checks.context, checks.workspace)
        self._evidence.implementation = result
        self._deadline.check()
        if not result.success:
            raise _failure(result)
        if checks.round == 0:
            checks.round = max(1, result.rounds)
            checks.run(checks.context, checks.workspace)
        if checks.last is not None and not checks.last.success:
            raise errors.TestExecutionError("Tests failed")
        self._reporter.event(
            "implementation_finished",
            {
                "rounds": result.rounds,
                "model": result.llm_model,
                "tokens_used": result.tokens_used,
                "files_changed": result.files_changed,
            },
        )

    def _is_done_before(self, checks: Checks) -> bool:
        """Return whether a run of this very task has pushed its change, and then was cut off."""
        workspace = checks.workspace
        if self._mark not in self._workspaces.message_of_earlier_run(workspace).splitlines():
            return False
        self._reporter.say("a run before this one has pushed the change: tests that")
        if not checks.run(checks.context, workspace).success:
            return False
        self._evidence.implementation = ImplementationResult(
            success=True,
            diff="",
            files_changed=self._workspaces.files_changed(workspace),
            duration_seconds=self._deadline.elapsed_s,
            rounds=0,
        )
        return True

    def _take_evidence(self, checks: Checks) -> None:
        """Note what was tested, and how the change looks, also of a run that failed."""
        self._evidence.tests = checks.last
        self._evidence.verification = checks.verification()
        try:
            checks.guard.check()
            diff = self._workspaces.get_diff(checks.workspace, tree=checks.tree)
        except errors.KerutaError as exc:
            self._reporter.say(f"the difference cannot be computed: {exc}")
            return
        made = self._evidence.implementation
        if made is None:
            made = ImplementationResult(
                success=False, diff="", files_changed=[], duration_seconds=self._deadline.elapsed_s
            )
        changed = self._workspaces.files_changed(checks.workspace, checks.tree)
        self._evidence.implementation = dataclasses.replace(made, diff=diff, files_changed=changed)

    def _publish(self, workspace: Workspace, checks: Checks) -> None:
        context, reporter = checks.context, self._reporter
        self._deadline.check()
        reporter.step("commit", "commits the change", 75)
        title = " ".join(context.title.split())[:_LONGEST_TITLE]
        subject = f"feat({context.spec_name}): {title} [Task {context.task_id}]"
        account = checks.verification()
        trailers = [self._redactor.redact(line) for line in verification.trailers(account)]
        attempt = branches.attempt_of(context)
        trailers += [] if attempt is None else [f"{ATTEMPT_TRAILER}: {attempt}"]
        message = "\n".join([self._redactor.redact(subject), "", self._mark, *trailers])
        commit = self._workspaces.commit_changes(workspace, message, tree=checks.tree)
        reporter.event("committed", {"commit": commit})
        if account.status == verification.UNTESTED:
            reporter.say(f"UNTESTED: {account.basis}")
        reporter.event("verified", account.to_dict())
        reporter.step("push", f"pushes {workspace.branch_name}", 85)
        if self._fence is not None:
            self._fence.check()
        self._evidence.push = self._workspaces.push_branch(
            workspace, workspace.branch_name, commit=commit
        )
        reporter.event("pushed", {"branch_name": workspace.branch_name, "commit": commit})


def _login(context: TaskContext) -> RepositoryUrl | None:
    """Return the address that the task names, with the password that it may hold.

    The remote of a slot is the same address without it.
    """
    try:
        return parse(str(context.metadata.get("repo_url") or ""))
    except errors.WorkspaceError:  # then it is no slot's either: the task names its own place
        return None


def _failure(result: ImplementationResult) -> errors.RunnerError:
    """Return the error that an executor returned as its result."""
    text = result.error or "the model gave nothing that can be used"
    kind = getattr(errors, result.error_type or "", None)
    if kind is errors.TestExecutionError:
        return errors.TestExecutionError(f"Tests failed: {text}")
    if kind is None or kind is errors.ImplementationError:
        return errors.ImplementationError(f"Task implementation failed: {text}")
    error: errors.RunnerError = kind(text)
    return error


def _digest(context: TaskContext) -> str:
    """Return what tells whether two runs were asked for the same."""
    asked = (
        *(context.spec_name, context.task_id, context.title, context.description),
        *context.acceptance_criteria,
    )
    return hashlib.sha256("\0".join(map(str, asked)).encode("utf-8", "surrogatepass")).hexdigest()[
        :16
    ]
