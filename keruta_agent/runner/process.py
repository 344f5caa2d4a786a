"""One coding task as a process: keys put away, signals handled, progress shown."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Final

from keruta_agent.core.coding import log_groups
from keruta_agent.core.coding.context_file import VARIABLE
from keruta_agent.core.coding.fence import Fence
from keruta_agent.core.coding.model import RunnerResult, TaskContext, Verification
from keruta_agent.core.log import keys
from keruta_agent.core.process_tree.prctl import end_with_parent
from keruta_agent.core.process_tree.program import take_charge
from keruta_agent.core.signals import StopFlag
from keruta_agent.runner.checks import verification
from keruta_agent.runner.config import RunnerConfig

if TYPE_CHECKING:
    from keruta_agent.runner.reporting import Step

#: Says that an agent's run has started this process.
RUN_TOKEN: Final = "KERUTA_RUN_TOKEN"  # noqa: S105 - the name of a variable
#: Lines of a difference that go to the log.
MOST_DIFF_LINES: Final = 3000
#: What a log takes for a mark of its own, such as the beginning of a group.
_MARK: Final = re.compile(r"\s*::")
_RUNNER_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


def begin(config: RunnerConfig) -> None:
    """Prepare this process for a run; call it before anything else.

    No command of the run can read the keys, and all that they start ends with it. The first time
    this starts the program anew and does not return.
    """
    keys.put_away((*config.key_variables, VARIABLE))
    take_charge()


def run(
    config: RunnerConfig,
    context: TaskContext,
    *,
    write: Callable[[str], None],
    on_step: Callable[[Step], None] | None = None,
) -> RunnerResult:
    """Run a task and show how it goes, line by line; SIGTERM and SIGINT stop it in order."""
    # Loaded here: a process that has keys to put away starts twice, the first time for that alone.
    from keruta_agent.runner.orchestrator import RunnerOrchestrator

    follower = Follower(write, grouped=RUN_TOKEN in os.environ, on_step=on_step)
    fence = Fence.from_environment(os.environ)
    with _stopped_by_signals() as stopping:
        if RUN_TOKEN in os.environ or fence is not None:
            # Whoever looks after the run's processes is gone then: nobody would stop this one.
            end_with_parent(signal.SIGTERM)
        if fence is not None:
            # The parent may have ended before that, and a container has another one.
            fence.watch(lambda: os.kill(os.getpid(), signal.SIGTERM))
        orchestrator = RunnerOrchestrator(
            config, on_step=follower.step, on_line=follower.line, stopping=stopping, fence=fence
        )
        given = os.environ.get("RUNNER_ID", "")
        if _RUNNER_ID.fullmatch(given):
            orchestrator.runner_id = given
        result = orchestrator.run(context)
    follower.end()
    if result.impl_result is not None:
        follower.difference(result.impl_result.diff)
    if result.verification is not None:
        follower.verification(result.verification)
    return result


class Follower:
    """The output of a run: groups of a task's log, else lines with the percentage in front."""

    def __init__(
        self,
        write: Callable[[str], None],
        *,
        grouped: bool,
        on_step: Callable[[Step], None] | None = None,
    ) -> None:
        self._print = write
        self._is_heard = True
        self._grouped = grouped
        self._on_step = on_step
        self._is_open = False
        self._step_text: str | None = None
        self._lock = threading.Lock()

    def step(self, step: Step) -> None:
        """Show that the run has come to a step."""
        with self._lock:
            if self._grouped:
                self._close()
                self._write(f"::group::{step.name}")
                self._is_open = True
            else:
                self._write(f"[{step.percent:3d}%] {step.text}")
                # The same text follows as a line of the log.
                self._step_text = step.text.splitlines()[0] if step.text else None
        if self._on_step is not None:
            self._on_step(step)

    def line(self, line: str) -> None:
        """Show a line of the log."""
        with self._lock:
            if line == self._step_text:
                self._step_text = None
                return
            if not self._grouped:
                line = f"       {line}"
            elif _MARK.match(line):  # tests that print it would speak for the runner
                line = f"| {line}"
            self._write(line)

    def difference(self, text: str) -> None:
        """Show what was changed, in the log of a task only: a person has the branch."""
        lines = text.splitlines()
        if not self._grouped or not lines:
            return
        if len(lines) > MOST_DIFF_LINES:
            left = len(lines) - MOST_DIFF_LINES
            lines[MOST_DIFF_LINES:] = [f"(and {left} lines more)"]
        self._group(log_groups.DIFF, lines)

    def verification(self, account: Verification) -> None:
        """Show how far the tests can be relied on, for the task's page."""
        if self._grouped:
            self._group(log_groups.VERIFICATION, log_groups.lines_of(account))

    def _group(self, name: str, lines: Iterable[str]) -> None:
        self._write(f"::group::{name}")
        for line in lines:
            self._write(f"| {line}" if _MARK.match(line) else line)
        self._write("::endgroup::")

    def end(self) -> None:
        """Show that there is no more."""
        with self._lock:
            self._close()

    def _write(self, line: str) -> None:
        """Print a line; a reader that has left does not end the run."""
        if not self._is_heard:
            return
        try:
            self._print(line)
        except OSError:
            self._is_heard = False

    def _close(self) -> None:
        if self._is_open:
            self._write("::endgroup::")
            self._is_open = False


def summary(result: RunnerResult) -> list[str]:
    """Return what a person wants to know of an ended run."""
    lines = []
    if result.push_result is not None:
        pushed = result.push_result
        lines.append(f"branch     {pushed.branch_name} ({pushed.commit_hash[:12]})")
    if result.impl_result is not None and result.impl_result.rounds:
        made = result.impl_result
        used = f", {made.tokens_used} tokens" if made.tokens_used else ""
        lines.append(f"model      {made.llm_model}, {made.rounds} rounds{used}")
    if result.verification is not None:
        lines += verification.lines(result.verification)
    lines += [f"{artifact.type.value:10} {artifact.uri}" for artifact in result.artifacts]
    verdict = "done" if result.success else f"failed: {result.error_type}: {result.error}"
    return [*lines, f"{verdict} ({result.duration_seconds:.1f} s)"]


def print_line(line: str) -> None:
    """Print a line so that it is seen at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


@contextlib.contextmanager
def _stopped_by_signals() -> Iterator[StopFlag]:
    stopping = StopFlag()
    if threading.current_thread() is not threading.main_thread():
        yield stopping
        return
    numbers = signal.SIGTERM, signal.SIGINT
    before = {number: signal.signal(number, stopping.set) for number in numbers}
    try:
        yield stopping
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
