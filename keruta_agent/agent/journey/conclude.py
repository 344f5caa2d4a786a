"""The way home of what a task changed in its repository: commit, push, what a failure left.

It can be cut off anywhere and is done again from the beginning: what is committed is not committed
twice, and a push of what is there already changes nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from keruta_agent.agent.journey import collect, environment, workspace
from keruta_agent.agent.journey.context import JobStoppedError, RunContext
from keruta_agent.agent.journey.hooks import Hooks
from keruta_agent.agent.journey.observe.monitor import ProgramMonitor
from keruta_agent.agent.store.run import Outcome, RunResult
from keruta_agent.agent.workspace import branch as branches
from keruta_agent.agent.workspace import commit, push
from keruta_agent.agent.workspace.checkout import Place
from keruta_agent.agent.workspace.commit import Message
from keruta_agent.agent.workspace.push import Target
from keruta_agent.agent.workspace.repository_hooks import RepositoryHooks
from keruta_agent.core import errors
from keruta_agent.core.model import Script
from keruta_agent.git import clone
from keruta_agent.git import commit as commits
from keruta_agent.git.clone import Clone
from keruta_agent.git.repository import directory, maintenance
from keruta_agent.git.scan import Limits
from keruta_agent.git.submodules import work_trees as submodules

#: Ends after which nobody waits for the network any more.
_STOPPED = frozenset({Outcome.CANCELLED, Outcome.AGENT_STOPPED, Outcome.REFUSED})


def conclude(ctx: RunContext, result: RunResult) -> RunResult:
    """Take the changes of a run home and return its result with what became of them."""
    place = workspace.place_of(ctx)
    if place is None:
        return result
    workspace.end_left_over(ctx)
    heeded = ctx.job.stop_kind if result.outcome is not Outcome.SUCCEEDED else None
    monitor = ProgramMonitor(ctx, heeded=heeded)
    try:
        return _Conclusion(ctx=ctx, result=result, place=place, monitor=monitor).conclude()
    finally:
        monitor.store_log()
        ctx.refresh()


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Conclusion:
    """The conclusion of one run that worked in a repository."""

    ctx: RunContext
    result: RunResult
    place: Place
    monitor: ProgramMonitor

    def conclude(self) -> RunResult:
        try:
            self._run_hook()
            if self.result.outcome is Outcome.SUCCEEDED:
                return self._with_message(self._deliver())
            return self._with_message(self._keep_evidence())
        except JobStoppedError as exc:
            return self._failed(f"stopped before its changes were taken: {exc}")
        except errors.WorkspaceError as exc:
            return self._failed(str(exc))

    def _with_message(self, what: str) -> RunResult:
        result = self.result
        if not what:
            return result
        message = f"{result.message} ({what})" if result.message else what[:1].upper() + what[1:]
        return dataclasses.replace(result, message=message)

    def _failed(self, why: str) -> RunResult:
        """Report that changes could not be taken home; by setting the task fails of it."""
        self.ctx.log.say(why, "ERROR")
        result = self._with_message(f"its changes were not pushed: {why}")
        if result.outcome is Outcome.SUCCEEDED and self.ctx.settings.git_require_push:
            return dataclasses.replace(result, outcome=Outcome.NOT_PUSHED)
        return result

    def _run_hook(self) -> None:
        result = self.result
        if self.ctx.settings.post_task_hook is None or result.outcome in _STOPPED:
            return
        try:
            self._hooks().after()
        except errors.WorkspaceError as exc:
            self.ctx.log.say(str(exc), "WARN")

    def _hooks(self) -> Hooks:
        result = self.result
        outcome = {
            "KERUTA_OUTCOME": result.outcome.value,
            "KERUTA_EXIT_CODE": "" if result.exit_code is None else str(result.exit_code),
        }
        work = self.ctx.job.work
        script = Script(content=work.script, parameters=work.parameters)
        artifacts_dir = collect.prepare_directory(self.ctx, self.place.directory)
        seen = environment.of_script(self.ctx, script, artifacts_dir, self.place)
        return Hooks(
            ctx=self.ctx,
            place=self.place,
            environment={**seen, **outcome},
            monitor=self.monitor,
        )

    def _repository_hooks(self, found: Clone) -> RepositoryHooks:
        is_wanted = self.ctx.settings.git_run_hooks
        return RepositoryHooks(
            clone=found,
            run_hook=self._hooks().run_of_repository if is_wanted else None,
            say=self.ctx.log.say,
        )

    def _commit(self, found: Clone, place: Place) -> str | None:
        hooks = self._repository_hooks(found)
        return commit.commit_all(
            found, place, self._message(), self._limits(), self.ctx.log.say, hooks
        )

    def _push(self, found: Clone, target: Target) -> str:
        hooks = self._repository_hooks(found)
        return push.push(found, target, self._limits(), self.ctx.log.say, hooks)

    def _deliver(self) -> str:
        """Commit and push what a successful run changed; return what was done, in words."""
        with directory.locked(self.place.directory, self.ctx.settings.git_timeout_s):
            found = self._open()
            pushed = push.by_runner(found)
            if pushed is not None:
                return self._note(*pushed, commit.diff_stat(found, self.place), "pushed {} to {}")
            tip = self._commit(found, self.place)
            if tip is None or tip in (self.place.base, self.place.pushed):
                self.ctx.log.say("nothing was changed")
                return ""
            stat = commit.diff_stat(found, self.place)
            if self.ctx.settings.git_disable_auto_push:
                return self._note(self.place.branch, tip, stat, "committed {} on {}, not pushed")
            tip = self._push(found, self._target())
            if found.is_ours:
                maintenance.keep_house(found.git)
            return self._note(self.place.branch, tip, stat, "pushed {} to {}")

    def _keep_evidence(self) -> str:
        """Do with a failed run's changes what the settings say; return that in words."""
        wish = self.ctx.settings.git_on_failure
        if wish == "keep":
            return ""
        with directory.locked(self.place.directory, self.ctx.settings.git_timeout_s):
            if wish == "push" and self.result.outcome not in _STOPPED:
                return self._push_aside(self._open())
            return self._set_aside(self._open())

    def _push_aside(self, found: Clone) -> str:
        """Push the leftovers of a failed run to their own branch."""
        branch = branches.failed_name(self.place.branch)
        failed = dataclasses.replace(self.place, branch=branch)
        found.git.run(
            *("checkout", "--quiet", "--no-track", "-B", branch), action=f"begin {branch}"
        )
        tip = self._commit(found, failed)
        if tip is None or tip in (self.place.base, self.place.start):
            return ""
        stat = commit.diff_stat(found, failed)
        target = dataclasses.replace(self._target(), branch=branch, force=True)
        tip = self._push(found, target)
        return self._note(branch, tip, stat, "pushed what it left {} to {}")

    def _set_aside(self, found: Clone) -> str:
        """Keep the leftovers of a failed run under their own ref in the clone."""
        ref = submodules.set_aside(
            found,
            f"failed/{self.place.branch}/{self.ctx.run.uid}",
            f"left by a failed run of task {self.ctx.job.task_id}",
            self.ctx.log.say,
        )
        if ref is None:
            return ""
        self.ctx.log.say(f"set aside what the run left: git stash apply {ref}", fields={"ref": ref})
        return f"what it left is in {ref}"

    def _open(self) -> Clone:
        """Open the clone that the script worked in.

        Raises:
            WorkspaceError: it is gone.
        """
        git_dir = self.place.directory / ".git"
        if not git_dir.is_dir():
            raise errors.WorkspaceError(f"the repository in {self.place.directory} is gone")
        repository = workspace.url_with_login(self.ctx, self.place)
        git = workspace.git_for(self.ctx, repository, self.place.directory, self.monitor)
        found = clone.open_existing(git, repository)
        if found.is_ours:
            maintenance.remove_locks(git_dir)
        say, signs = self.ctx.log.say, self.ctx.settings.git_sign
        return dataclasses.replace(found, git=commits.signing(found.git, say, is_wanted=signs))

    def _target(self) -> Target:
        protected = {self.place.default_branch or "", self.place.ref, "main", "master"}
        return Target(
            branch=self.place.branch,
            protected=frozenset(protected),
            force=self.ctx.settings.git_force_push,
        )

    def _limits(self) -> Limits:
        return Limits(
            largest_file=self.ctx.settings.git_max_file_size,
            holds_secret=self.ctx.redactor.knows_secret_in,
        )

    def _message(self) -> Message:
        redact = self.ctx.redactor.redact
        return Message(
            name=redact(self.ctx.job.name),
            task_id=self.ctx.job.task_id or "",
            session_id=self.ctx.job.session_id,
            run_uid=self.ctx.run.uid,
            body=redact(self.result.message),
        )

    def _note(self, branch: str, tip: str, stat: commit.DiffStat, words: str) -> str:
        text = f"{words.format(tip[:12], branch)}: {stat}"
        fields: Mapping[str, Any] = {"branch": branch, "commit": tip, **dataclasses.asdict(stat)}
        self.ctx.log.say(text, fields=fields)
        return text
