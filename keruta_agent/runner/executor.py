"""The loop in which a model solves a task, until the tests pass or a budget is used up.

A round: the model is asked, its whole answer is checked and written, the tests run. What they say,
or why the answer was refused, stands in the next round's prompt.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from keruta_agent.core import errors
from keruta_agent.core.coding import validation
from keruta_agent.core.coding.model import (
    ImplementationResult,
    LLMConfig,
    LLMResponse,
    TaskContext,
    TestResult,
    Workspace,
)
from keruta_agent.core.redaction.redactor import Redactor
from keruta_agent.runner.budget import Budget, Limits
from keruta_agent.runner.changes import difference, edits, protected, use
from keruta_agent.runner.changes.permission import PermissionValidator
from keruta_agent.runner.changes.tree import Tree
from keruta_agent.runner.checks import failure
from keruta_agent.runner.config import RunnerConfig
from keruta_agent.runner.exploration import requests
from keruta_agent.runner.exploration.explorer import Explorer, RunCommand
from keruta_agent.runner.model import prompt
from keruta_agent.runner.model.client import LLMClient
from keruta_agent.runner.model.reply import estimated_tokens
from keruta_agent.runner.model.transcript import Transcript
from keruta_agent.runner.solution import Solution

#: Tokens that a prompt may have, unless the settings say otherwise.
PROMPT_TOKENS: Final = 60_000
#: How often a prompt is made shorter for a model that takes less, and tokens of the shortest.
_MOST_SHORTER: Final = 4
_SHORTEST_PROMPT: Final = 500


@dataclasses.dataclass(frozen=True, kw_only=True)
class Runnable:
    """Commands that a model may have run, word for word, and what runs one of them."""

    commands: tuple[str, ...] = ()
    run: RunCommand | None = None


RunTests = Callable[[TaskContext, Workspace], TestResult]
#: Receives the name of a step and the facts about it.
Report = Callable[[str, Mapping[str, Any]], None]


def _discard(step: str, facts: Mapping[str, Any]) -> None:
    """Nobody listens."""


def _never() -> None:
    """Nobody interrupts."""


class TaskExecutor:
    """The solver of tasks, one after the other."""

    def __init__(
        self,
        llm_config: LLMConfig | None = None,
        *,
        run_tests: RunTests | None = None,
        tests_first: bool = True,
        limits: Limits | None = None,
        prompt_tokens: int = PROMPT_TOKENS,
        retry_count: int = 3,
        key_variable: str = "OPENAI_API_KEY",
        redactor: Redactor | None = None,
        check: Callable[[], None] = _never,
        report: Report = _discard,
        transcript: Transcript | None = None,
        runnable: Runnable | None = None,
    ) -> None:
        """Take the model, and what runs the tests; without that the first answer is taken.

        ``check`` is called all the time and may raise to interrupt. With ``tests_first`` the tests
        also run before the model is asked, which then sees how they fail. ``runnable`` are commands
        that it may have run to see what they say.
        """
        self._run_tests = run_tests
        self._tests_first = tests_first
        self._limits = limits or Limits()
        self._prompt_tokens = prompt_tokens
        self._redactor = redactor or Redactor()
        self._interrupt = check
        self._runnable = runnable or Runnable()
        self._report = report
        #: What the last task has used, or the present one uses.
        self.budget = Budget(self._limits)
        self.llm_client: LLMClient | None = None
        if llm_config is not None:
            self._redactor = self._redactor.with_secrets([llm_config.api_key or ""])
            self.llm_client = LLMClient(
                llm_config,
                retry_count=retry_count,
                key_variable=key_variable,
                check=self._check,
                on_usage=lambda prompt, completion: self.budget.spend(prompt, completion),
                on_progress=lambda parts, seconds: report(
                    "model_writes", {"parts": parts, "seconds": round(seconds)}
                ),
                transcript=transcript,
            )

    @classmethod
    def of(
        cls,
        config: RunnerConfig,
        *,
        run_tests: RunTests | None = None,
        tests_first: bool = True,
        redactor: Redactor | None = None,
        check: Callable[[], None] = _never,
        report: Report = _discard,
        transcript: Transcript | None = None,
        runnable: Runnable | None = None,
        environment: Mapping[str, str] = os.environ,
    ) -> TaskExecutor:
        """Return one that does what a configuration says.

        Raises:
            AuthenticationError: there is no key for the model.
        """
        return cls(
            config.model(environment),
            run_tests=run_tests,
            tests_first=tests_first,
            limits=Limits.of(config),
            prompt_tokens=config.llm_prompt_tokens,
            retry_count=config.llm_retry_count,
            key_variable=config.llm_api_key_env_var,
            redactor=redactor,
            check=check,
            report=report,
            transcript=transcript,
            runnable=runnable,
        )

    def execute(self, task_context: TaskContext, workspace: Workspace) -> ImplementationResult:
        """Return what came of a task; ``error`` and ``error_type`` say why it failed.

        After a failure the last answer that could be applied lies in the workspace, as evidence.

        Raises:
            ImplementationError: there is no model.
        """
        if self.llm_client is None:
            raise errors.ImplementationError(
                "There is no language model to ask", advice="Give TaskExecutor an LLMConfig"
            )
        began = time.monotonic()
        self.budget = Budget(self._limits)
        work = self._begun(task_context, workspace)
        error: errors.RunnerError | None = None
        try:
            self._solve(self.llm_client, work)
        except errors.RunnerError as caught:
            error = caught
        finally:
            self.llm_client.close()
        return ImplementationResult(
            success=error is None,
            diff=difference.unified(work.files),
            files_changed=sorted(
                str(path) for path, change in work.files.items() if change.before != change.after
            ),
            duration_seconds=time.monotonic() - began,
            llm_model=work.model or self.llm_client.config.model,
            tokens_used=self.budget.tokens,
            cost=self.budget.cost,
            error=None if error is None else self._redactor.redact(str(error)),
            error_type=None if error is None else _kind(error),
            code_changes=work.changes,
            rounds=work.round,
            steps=work.explorer.steps,
        )

    def _begun(self, task_context: TaskContext, workspace: Workspace) -> Solution:
        tree = Tree(workspace.path.resolve())
        permissions = PermissionValidator.of_repository(
            workspace.path,
            [*(task_context.test_commands or ()), *self._runnable.commands],
            protected=protected.playbook(task_context, workspace.path),
            allowed=validation.allowed_files(task_context),
        )
        return Solution(
            context=task_context,
            workspace=workspace,
            tree=tree,
            permissions=permissions,
            explorer=Explorer(
                tree=tree,
                permissions=permissions,
                redactor=self._redactor,
                most_steps=self._limits.steps,
                run=self._runnable.run,
            ),
        )

    def _solve(self, client: LLMClient, work: Solution) -> None:
        if self._run_tests is not None and self._tests_first:
            self._test_as_it_is(self._run_tests, work)
        for _ in range(self._limits.rounds):
            work.round += 1
            self._check()
            self._report("round_started", {"round": work.round, "of": self._limits.rounds})
            problem = self._round(client, work)
            if problem is None:
                return
            work.goes_on_from(problem)
        raise self._used_up(work)

    def _round(self, client: LLMClient, work: Solution) -> errors.RunnerError | None:
        """Do one round and return what is wrong with what came of it."""
        try:
            asked, response = self._answered(client, work)
        except errors.UnusableAnswerError as useless:
            # It costs the round: with other words before it the model may do better.
            self._report("answer_unusable", {"reason": self._redactor.redact(str(useless))})
            return useless
        if not response.code_changes and work.passes and not work.files:
            said = self._redactor.redact(response.explanation)[:500] or "it does not say why"
            raise errors.NothingToDoError(
                f"Nothing to do: the tests pass, and {response.model} changes nothing: {said}",
                advice="Add a test that fails, or describe what is to be different",
            )
        work.model, work.changes = response.model, response.code_changes
        self._report("model_answered", self._facts(response))
        try:
            steps = edits.plan(
                response.code_changes, work.tree, work.permissions, masked=asked.masked
            )
            use.check(steps, work.tree, work.tests)
            edits.apply(steps, work.tree)
            use.check_written(steps, work.tree)
        except (errors.SecurityError, edits.EditError) as refusal:
            self._report("changes_refused", {"reason": self._redactor.redact(str(refusal))})
            return refusal
        work.remember(steps)
        self._report("changes_applied", {"files": [str(step.path) for step in steps]})
        return None if self._run_tests is None else self._tested(self._run_tests, work)

    def _answered(self, client: LLMClient, work: Solution) -> tuple[prompt.Prompt, LLMResponse]:
        """Ask the model until it has seen enough."""
        explorer = work.explorer
        while True:
            asked, response = self._asked(client, work)
            if not response.requests:
                return asked, response
            answers = explorer.take(response.requests)
            self._report(
                "step_taken",
                {
                    "step": explorer.steps,
                    "of": explorer.most_steps,
                    "requests": [requests.shown(answer.request) for answer in answers],
                    "refused": [answer.refusal for answer in answers if answer.refusal],
                    "tokens": self.budget.tokens,
                },
            )

    def _asked(self, client: LLMClient, work: Solution) -> tuple[prompt.Prompt, LLMResponse]:
        """Ask the model, with a shorter prompt where its server wants one."""
        may_ask = work.explorer.left > 0 and not self.budget.is_half_used
        for attempt in range(_MOST_SHORTER + 1):
            asked = prompt.build(
                work.context,
                work.tree,
                work.permissions,
                limit_tokens=self._prompt_tokens,
                redactor=self._redactor,
                failed=work.failed,
                touched=[str(path) for path in work.files],
                explorer=work.explorer,
                may_ask=may_ask,
            )
            try:
                return asked, client.generate_code(
                    asked.text,
                    work.workspace.path,
                    max_tokens=work.context.max_tokens,
                    may_ask=may_ask,
                )
            except errors.PromptTooLongError as too_long:
                had = min(self._prompt_tokens, estimated_tokens(asked.text))
                tokens = int(had * too_long.share)
                if attempt == _MOST_SHORTER or tokens < _SHORTEST_PROMPT:
                    raise
                self._prompt_tokens = tokens
                self._report("prompt_shortened", {"tokens": tokens})
        raise AssertionError("the last attempt returns or raises")

    def _tested(self, run_tests: RunTests, work: Solution) -> errors.RunnerError | None:
        self._check()
        result = run_tests(work.context, work.workspace)
        self._report("tests_finished", {"success": result.success})
        return None if result.success else errors.TestExecutionError(failure.describe(result))

    def _test_as_it_is(self, run_tests: RunTests, work: Solution) -> None:
        problem = self._tested(run_tests, work)
        work.passes = problem is None and bool(work.context.test_commands)
        if problem is not None:
            work.failed = f"Before any change the tests fail:\n{problem.message}"

    def _used_up(self, work: Solution) -> errors.RunnerError:
        rounds = self._limits.rounds
        problem = work.problem
        if isinstance(problem, errors.TestExecutionError):
            return errors.BudgetExceededError(
                f"The rounds are used up: the tests still fail after {rounds} of {rounds}: "
                f"{failure.last_line(problem.message)}",
                advice="Raise runner.max_rounds, or describe the task in more detail",
            )
        return problem or errors.BudgetExceededError("The rounds are used up: there are none")

    def _check(self) -> None:
        self._interrupt()
        self.budget.check()

    def _facts(self, response: LLMResponse) -> dict[str, Any]:
        return {
            "model": response.model,
            "tokens": self.budget.tokens,
            "cost": self.budget.cost,
            "changes": len(response.code_changes),
            "explanation": self._redactor.redact(response.explanation),
        }


def _kind(error: errors.RunnerError) -> str:
    """Return the name under which an error is known outside of this package."""
    is_inner = isinstance(error, errors.UnusableAnswerError | errors.PromptTooLongError)
    return (errors.ImplementationError if is_inner else type(error)).__name__
