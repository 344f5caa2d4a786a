"""The biography of one coding task, from its description to the branch that people look at."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import os
import re
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NoReturn

from keruta_agent.core import errors, file_trees
from keruta_agent.core.coding import branches, validation
from keruta_agent.core.coding.fence import Fence
from keruta_agent.core.coding.model import Playbook, RunnerResult, RunnerState, TaskContext
from keruta_agent.core.redaction.redactor import Redactor
from keruta_agent.core.redaction.values import url_passwords
from keruta_agent.core.settings import retired
from keruta_agent.runner.artifacts import ArtifactUploader
from keruta_agent.runner.checks import verification
from keruta_agent.runner.checks.checks import Checks
from keruta_agent.runner.checks.playbooks import PlaybookEngine
from keruta_agent.runner.config import RunnerConfig, refuse_retired_variables
from keruta_agent.runner.credentials import CredentialManager
from keruta_agent.runner.deadline import Deadline, StoppedError, Stopping
from keruta_agent.runner.executor import Runnable, TaskExecutor
from keruta_agent.runner.model.transcript import Transcript
from keruta_agent.runner.reporting import OnLine, OnStep, Reporter, unheard
from keruta_agent.runner.services import connect as services
from keruta_agent.runner.workspace import slots
from keruta_agent.runner.workspace.work import Evidence, Executor, Work

logger = logging.getLogger(__name__)

_UNFIT: Final = re.compile(r"[^A-Za-z0-9._-]+")


class RunnerOrchestrator:
    """The executor of coding tasks, one after the other, without state between them."""

    def __init__(
        self,
        config: RunnerConfig | None = None,
        *,
        on_step: OnStep = unheard,
        on_line: OnLine = unheard,
        stopping: Stopping | None = None,
        fence: Fence | None = None,
    ) -> None:
        """Take what to work with, the observer of the run, and the flag that stops it.

        A ``fence`` is asked before anything is pushed.

        Raises:
            SettingsError: an address or a variable cannot be used.
        """
        refuse_retired_variables(os.environ)
        self.config = config or RunnerConfig()
        self.runner_id = f"runner-{uuid.uuid4().hex[:12]}"
        self.state = RunnerState.IDLE
        self.credentials = CredentialManager()
        self.task_registry_client = services.task_registry(self.config)
        self.repo_pool_client = services.repo_pool(self.config)
        self.artifact_store_client = services.artifact_store(self.config, self.credentials)
        #: Asks the model; made for each run, unless somebody puts another one here.
        self.task_executor: Executor | None = None
        #: What was said to the model and by it in the last run.
        self._transcript = Transcript()
        self.current_task_id: str | None = None
        self.current_spec_name: str | None = None
        self.execution_logs: list[str] = []
        self._on_step = on_step
        self._on_line = on_line
        self._stopping = stopping
        self._fence = fence

    def __repr__(self) -> str:
        return f"<RunnerOrchestrator {self.runner_id}, {self.state}>"

    def __getattr__(self, name: str) -> NoReturn:
        """Answer an attribute of the old runner with the name of its replacement."""
        advice = retired.ATTRIBUTES.get(name)
        said = "" if advice is None else f": it is one of the old runner. {advice}"
        raise AttributeError(f"RunnerOrchestrator has no attribute {name!r}{said}")

    def run(self, task_context: TaskContext) -> RunnerResult:
        """Do a task and return what came of it; a task that fails is a result, no error."""
        self.state = RunnerState.RUNNING
        self._transcript = Transcript()
        self.current_task_id = task_context.task_id
        self.current_spec_name = task_context.spec_name
        # An invalid time limit is refused below, with all else that is wrong.
        deadline = Deadline(max(task_context.timeout_seconds, 1), self._stopping)
        evidence = Evidence(task_context)
        redactor = self._redactor(task_context)
        reporter = Reporter(
            self.task_registry_client,
            task_context,
            self.runner_id,
            redactor,
            on_step=self._on_step,
            on_line=self._on_line,
        )
        self.execution_logs = reporter.lines
        error: Exception | None = None
        try:
            self._do(task_context, evidence, deadline, reporter, redactor)
        except errors.KerutaError as exc:
            error = exc
        except Exception as exc:  # the edge: whoever gave the task must hear what became of it
            logger.exception("a run broke", extra={"action": "runner_broke"})
            error = exc
        finally:
            self.credentials.clear_credentials()
        if error is not None:
            error = self._fail(error, evidence, reporter, redactor)
        self.state = RunnerState.COMPLETED if error is None else RunnerState.FAILED
        return self._result(evidence, deadline, error, redactor)

    def _redactor(self, context: TaskContext) -> Redactor:
        config, credentials = self.config, self.credentials
        credentials.get_git_token(config.git_token_env_var)
        credentials.get_llm_api_key(config.llm_api_key_env_var)
        credentials.get_api_key("artifact_store", config.artifact_store_api_key_env_var)
        model = config.llm_config
        given = [config.llm_api_key, *config.llm_secrets]
        if model is not None:
            given += [model.api_key, *model.secrets]
        return Redactor.from_environment(
            os.environ,
            also=[
                *credentials.secrets,
                *filter(None, given),
                *url_passwords(str(context.metadata.get("repo_url") or "")),
            ],
        )

    def _do(
        self,
        context: TaskContext,
        evidence: Evidence,
        deadline: Deadline,
        reporter: Reporter,
        redactor: Redactor,
    ) -> None:
        validation.check(context, has_pool=self.repo_pool_client is not None)
        # What cannot end well is refused before it costs anything.
        branch = branches.branch_of(context)
        if self.task_executor is None:
            self.config.model(os.environ)
        playbook = self._playbook(context)
        context = evidence.context = dataclasses.replace(context, branch_name=branch)
        reporter.begin(branch)
        with contextlib.ExitStack() as stack:
            if self.repo_pool_client is not None and validation.takes_slot(context, has_pool=True):
                reporter.step("slot", "waits for a slot of the pool", 5)
                context = stack.enter_context(
                    slots.lent(
                        self.repo_pool_client, context, self.runner_id, deadline, reporter.say
                    )
                )
                evidence.context = context
                reporter.event("slot_allocated", {"slot_id": context.slot_id})
            directory = stack.enter_context(file_trees.temporary_directory(prefix="keruta-runner-"))
            work = Work(
                config=self.config,
                make_executor=lambda checks: (
                    self.task_executor or self._executor(checks, deadline, reporter, redactor)
                ),
                evidence=evidence,
                deadline=deadline,
                reporter=reporter,
                redactor=redactor,
                secrets=self.credentials.secrets,
                directory=directory,
                fence=self._fence,
            )
            work.do(playbook)
        self._store(evidence, reporter, redactor)
        reporter.done(branch, evidence.artifacts)
        account = evidence.verification
        is_untested = account is not None and account.status == verification.UNTESTED
        reporter.step("end", f"done: pushed {branch}{' UNTESTED' if is_untested else ''}", 100)

    def _executor(
        self, checks: Checks, deadline: Deadline, reporter: Reporter, redactor: Redactor
    ) -> TaskExecutor:
        def report(step: str, facts: Mapping[str, Any]) -> None:
            if step == "model_writes":
                text = f"the model writes: {facts['parts']} tokens in {facts['seconds']} s"
                reporter.step("implement", text, 20)
            elif step == "round_started":
                checks.round = int(facts["round"])
                percent = min(70, 20 + 15 * (checks.round - 1))
                text = f"round {facts['round']} of at most {facts['of']}: asks the model"
                reporter.step("implement", text, percent)
            elif step == "step_taken":
                text = f"step {facts['step']} of at most {facts['of']}: the model asks to "
                reporter.step("implement", text + "; ".join(facts["requests"]), 20)
                for reason in facts["refused"]:
                    reporter.say(f"refused: {reason}")
                reporter.event(step, facts)
            elif step != "tests_finished":  # the checks tell more of that
                text = ", ".join(f"{name}: {value}" for name, value in facts.items())
                reporter.say(f"{step.replace('_', ' ')}: {text}")
                reporter.event(step, facts)

        return TaskExecutor.of(
            self.config,
            run_tests=checks.run,
            tests_first=checks.baseline is not None,
            redactor=redactor,
            check=deadline.check,
            report=report,
            transcript=self._transcript,
            runnable=Runnable(commands=checks.trials.commands, run=checks.run_alone),
        )

    def _playbook(self, context: TaskContext) -> Playbook | None:
        path = context.playbook_path or self.config.default_playbook_path
        return None if path is None else PlaybookEngine().load_playbook(path)

    def _store(self, evidence: Evidence, reporter: Reporter, redactor: Redactor) -> None:
        """Store the evidence.

        Raises:
            ArtifactUploadError: not all of it is stored.
        """
        if self.artifact_store_client is None:
            return
        reporter.step("artifacts", "stores diff, log and test results", 92)
        failures = self._upload(evidence, reporter, redactor)
        if failures:
            raise errors.ArtifactUploadError(f"Failed to store the evidence: {'; '.join(failures)}")
        reporter.event("artifacts_uploaded", {"count": len(evidence.artifacts)})

    def _upload(self, evidence: Evidence, reporter: Reporter, redactor: Redactor) -> list[str]:
        uploader = ArtifactUploader(
            self.artifact_store_client, self.task_registry_client, redactor=redactor
        )
        evidence.artifacts = uploader.upload_artifacts(
            evidence.context,
            evidence.implementation,
            evidence.tests,
            reporter.log,
            self._transcript.text(redactor),
        )
        evidence.is_stored = self.artifact_store_client is not None and not uploader.failures
        return uploader.failures

    def _fail(
        self, error: Exception, evidence: Evidence, reporter: Reporter, redactor: Redactor
    ) -> Exception:
        """Report a failure, store all evidence, and return the error to be shown."""
        reporter.step("end", f"failed: {type(error).__name__}: {error}", 100)
        # The error may be that the store is away: asking it once more takes long and gives nothing.
        if not evidence.is_stored and not isinstance(error, errors.ArtifactUploadError):
            self._upload(evidence, reporter, redactor)
        kept: Path | None = None
        if not evidence.is_stored:
            kept = self._keep_here(evidence, reporter, redactor)
        listed = [artifact.to_dict() for artifact in evidence.artifacts]
        is_stopped = isinstance(error, StoppedError)
        reporter.failed(error, is_stopped=is_stopped, data={"artifacts": listed})
        if kept is None:
            return error
        return _Kept(error, kept)

    def _keep_here(self, evidence: Evidence, reporter: Reporter, redactor: Redactor) -> Path | None:
        root = self.config.evidence_dir or Path("~/.keruta/runner/evidence").expanduser()
        name = _UNFIT.sub("_", f"{evidence.context.spec_name}-{evidence.context.task_id}")[:80]
        directory = root / f"{name}-{time.strftime('%Y%m%dT%H%M%S')}-{self.runner_id}"
        reporter.say(f"the evidence is kept in {directory}")
        try:
            return ArtifactUploader(None, redactor=redactor).keep_here(
                directory,
                evidence.context,
                evidence.implementation,
                evidence.tests,
                reporter.log,
                self._transcript.text(redactor),
            )
        except errors.ArtifactUploadError as exc:
            reporter.say(str(exc))
            return None

    def _result(
        self, evidence: Evidence, deadline: Deadline, error: Exception | None, redactor: Redactor
    ) -> RunnerResult:
        kind, text = None, None
        if error is not None:
            cause = error.cause if isinstance(error, _Kept) else error
            kind, text = type(cause).__name__, redactor.redact(str(error))
        path = evidence.workspace.path if evidence.workspace else evidence.context.slot_path
        return RunnerResult(
            success=error is None,
            runner_id=self.runner_id,
            task_id=evidence.context.task_id,
            duration_seconds=deadline.elapsed_s,
            artifacts=evidence.artifacts,
            error=text,
            impl_result=evidence.implementation,
            test_result=evidence.tests,
            push_result=evidence.push,
            workspace_path=str(path) if path else None,
            error_type=kind,
            verification=evidence.verification,
        )


class _Kept(Exception):
    """An error, and where its evidence is kept."""

    def __init__(self, cause: Exception, directory: Path) -> None:
        super().__init__(f"{cause} (the evidence is kept in {directory})")
        self.cause = cause
