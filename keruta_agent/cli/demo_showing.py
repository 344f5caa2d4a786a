"""One showing of ``keruta demo``: its tasks, their expected results, and its actors.

Apart from the command, whose help must not load all of this.
"""

from __future__ import annotations

import dataclasses
import shlex
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final

import click

from keruta_agent.cli.live_view import Silent, View, make_view
from keruta_agent.cli.options import print_json
from keruta_agent.cli.tables import duration, print_table
from keruta_agent.core import errors
from keruta_agent.core.model import LogEntry, LogLevel, Task, TaskStatus
from keruta_agent.server.pages import examples
from keruta_agent.soak import demo_world
from keruta_agent.soak.demo_world import PAGE, DemoApi, DemoProcesses, Interruption, make_repository
from keruta_agent.soak.sandbox import tail


@dataclasses.dataclass(frozen=True, kw_only=True)
class Wanted:
    """The expected result of a task."""

    status: TaskStatus = TaskStatus.COMPLETED
    #: Whether an auto-fix task has to be filed, and to succeed.
    is_fixed: bool = False
    #: All files that must be stored.
    artifacts: tuple[str, ...] = ()
    #: The least number of lines in its log.
    log_lines: int
    #: What must stand in its message.
    reason: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class TaskOutcome:
    """What came of a task, as the API tells it."""

    name: str
    status: TaskStatus
    reason: str
    run_time_s: float | None
    log_lines: int
    artifacts: tuple[str, ...]
    #: Name of the failed task that it repairs.
    auto_fix_of: str | None


def has_ended(tasks: Sequence[Task], wanted: Mapping[str, Wanted]) -> bool:
    """Return whether all tasks have ended, with the auto-fix tasks that are to come."""
    if not all(task.status.is_terminal for task in tasks):
        return False
    fixed = {task.parent_task_id for task in tasks}
    return all(
        task.id in fixed
        for task in tasks
        if task.status is TaskStatus.FAILED and task.name in wanted and wanted[task.name].is_fixed
    )


def complaints_about(outcomes: Sequence[TaskOutcome], wanted: Mapping[str, Wanted]) -> list[str]:
    """Return what is not as it should be, a sentence each."""
    found = []
    for outcome in outcomes:
        if outcome.auto_fix_of is not None:
            if outcome.status is not TaskStatus.COMPLETED:
                found.append(f"the auto-fix of {outcome.auto_fix_of} is {outcome.status.value}")
            continue
        rule = wanted[outcome.name]
        if outcome.status is not rule.status:
            found.append(f"{outcome.name} is {outcome.status.value}, not {rule.status.value}")
        if rule.is_fixed and outcome.name not in {other.auto_fix_of for other in outcomes}:
            found.append(f"{outcome.name} got no auto-fix task")
        if sorted(outcome.artifacts) != sorted(rule.artifacts):
            stored = ", ".join(outcome.artifacts) or "none"
            found.append(
                f"the artifacts of {outcome.name} are {stored}; "
                f"they should be {', '.join(rule.artifacts) or 'none'}"
            )
        if rule.reason not in outcome.reason:
            found.append(f"{outcome.name} does not say {rule.reason!r}: {outcome.reason}")
        if outcome.log_lines < rule.log_lines:
            found.append(
                f"the log of {outcome.name} has {outcome.log_lines} of {rule.log_lines} lines"
            )
    missing = set(wanted) - {outcome.name for outcome in outcomes}
    return found + [f"{name} is missing" for name in sorted(missing)]


def print_outcome(outcomes: Sequence[TaskOutcome], found: Sequence[str]) -> None:
    """Print the table, then what it proves, or what is wrong."""
    click.echo()
    print_table(
        ("TASK", "STATE", "TIME", "LOG LINES", "ARTIFACTS", "AUTO-FIX OF", "REASON"),
        [
            (
                outcome.name,
                outcome.status.value,
                "-" if outcome.run_time_s is None else duration(outcome.run_time_s),
                str(outcome.log_lines),
                str(len(outcome.artifacts)),
                outcome.auto_fix_of or "-",
                outcome.reason.partition("\n")[0][:60],
            )
            for outcome in outcomes
        ],
    )
    click.echo()
    for complaint in found:
        click.echo(f"keruta: not as expected: {complaint}", err=True)
    if not found:
        fixes = sum(outcome.auto_fix_of is not None for outcome in outcomes)
        lines = sum(outcome.log_lines for outcome in outcomes)
        artifacts = sum(len(outcome.artifacts) for outcome in outcomes)
        click.echo(
            f"As expected: {len(outcomes)} tasks ran, {fixes} of them to fix a failed one; "
            f"{lines:,} log lines and {artifacts} artifacts arrived."
        )


#: The tasks of the demo in their order, and what must come of each.
WANTED: Final[Mapping[str, Wanted]] = {
    "hello": Wanted(log_lines=7),
    "ask-for-input": Wanted(log_lines=7),
    "artifacts": Wanted(
        artifacts=("sales/sales.csv", "sales/sales.svg", "sales/売上の要約.txt"), log_lines=1
    ),
    "fail-and-be-fixed": Wanted(status=TaskStatus.FAILED, is_fixed=True, log_lines=1),
    "git-change": Wanted(log_lines=3, reason="pushed "),
    "long-output": Wanted(log_lines=3000),
}

#: What the demo answers, by the beginnings of the questions.
ANSWERS: Final[Mapping[str, str]] = {"Whom shall I greet": "世界", "How often": "3"}

#: Seconds between looks at the API.
LOOK_S: Final = 0.15
#: Seconds without any change after which the demo gives up.
STALL_TIMEOUT_S: Final = 30.0


def task_script(name: str) -> str:
    """Return the text of a ready-made task script.

    Raises:
        NotFound: there is none.
    """
    script = examples.scripts().get(name)
    if script is None:
        raise errors.NotFound(
            f"the task script {name}.sh is missing, in"
            f" {' as in '.join(str(place) for place in examples.PLACES)}",
            advice="Install keruta-agent again",
        )
    return script


class Showing:
    """One showing."""

    def __init__(self, view: View, interruption: Interruption, *, keep: bool) -> None:
        self.processes = DemoProcesses(interruption)
        self._view = view
        self._interruption = interruption
        self._keep = keep
        self._session_id = ""
        self._log_lines: dict[str, int] = {}

    def play(self) -> tuple[list[TaskOutcome], list[str]]:
        """Run everything and return what came of each task, and what should not have."""
        scripts = {name: task_script(name) for name in WANTED}
        self.processes.start_server()
        api = DemoApi(self.processes.url, self.processes.token)
        try:
            repository = self.processes.directory / "project.git"
            make_repository(repository, {"README.md": "# A project\n"})
            self._session_id = api.create_session("demo", repository).id
            self.processes.start_daemon(self._session_id, keep_alive=self._keep)
            for name, script in scripts.items():
                api.file_task(self._session_id, name, script, self.processes.temporary)
            tasks = self._watch(api)
            outcomes = [self._outcome(api, task, tasks) for task in tasks]
            complaints = complaints_about(outcomes, WANTED)
            if not self._keep:
                complaints += self._end(api)
        finally:
            api.close()
        return outcomes, complaints

    def addresses(self, kept: bool) -> dict[str, Any]:
        """Return where everything is, when it was kept."""
        if not kept or self.processes.server is None or self.processes.daemon is None:
            return {}
        return {
            "session": self._session_id,
            "directory": str(self.processes.directory),
            "api_url": self.processes.url,
            "token_file": str(self.processes.token_file),
            "server_pid": self.processes.server.pid,
            "daemon_pid": self.processes.daemon.pid,
        }

    def note_processes(self) -> None:
        """Note what `keruta demo --stop` has to end."""
        processes = (self.processes.daemon, self.processes.server)
        pids = [process.pid for process in processes if process is not None]
        demo_world.note_processes(self.processes.directory, pids)

    def print_addresses(self) -> None:
        """Print where everything is and how to look at it and to stop it."""
        found = self.addresses(kept=True)
        directory = shlex.quote(found["directory"])
        base_dir = shlex.quote(str(self.processes.base_dir))
        click.echo(
            f"\nServer and daemon are still running.\n"
            f"  API        {found['api_url']} (token in {found['token_file']})\n"
            f"  session    {found['session']}\n"
            f"  processes  server {found['server_pid']}, daemon {found['daemon_pid']}\n"
            f"  directory  {found['directory']}\n"
            f"Look:  KERUTA_BASE_DIR={base_dir} keruta queue list --all\n"
            f"Stop:  keruta demo --stop {directory}"
        )

    def _watch(self, api: DemoApi) -> list[Task]:
        """Show the tasks until all have ended, and return them."""
        before: list[Task] = []
        deadline = time.monotonic() + STALL_TIMEOUT_S
        complete: set[str] = set()
        while True:
            tasks = api.tasks(self._session_id)
            news = tasks != before
            for task in tasks:
                if task.id not in complete and task.status is not TaskStatus.PENDING:
                    news = self._read_log(api, task) or news
                    # All of the log is stored before a task's last state is.
                    complete |= {task.id} if task.status.is_terminal else set()
            self._view.show(tasks)
            self._answer(api, tasks)
            if has_ended(tasks, WANTED):
                return tasks
            if news:
                before, deadline = tasks, time.monotonic() + STALL_TIMEOUT_S
            self._check_daemon(tasks, deadline)
            self._interruption.pause(LOOK_S)

    def _answer(self, api: DemoApi, tasks: list[Task]) -> None:
        """Answer what a script asks, as a person would."""
        for task in tasks:
            if task.status is not TaskStatus.WAITING_FOR_INPUT:
                continue
            question = api.open_question(task.id)
            known = [text for start, text in ANSWERS.items() if (question or "").startswith(start)]
            if known and api.answer(task.id, known[0]):
                line = LogEntry(level=LogLevel.INFO, message=f"(the demo answers: {known[0]})")
                self._view.log(task, [line])

    def _read_log(self, api: DemoApi, task: Task) -> bool:
        """Show the new lines of a task's log; return whether there were any."""
        start = known = self._log_lines.get(task.id, 0)
        while True:
            page, skipped = divmod(known, PAGE)
            entries = api.log_page(task.id, page)
            self._view.log(task, entries[skipped:])
            known = page * PAGE + len(entries)
            if len(entries) < PAGE:
                self._log_lines[task.id] = known
                return known > start

    def _check_daemon(self, tasks: list[Task], deadline: float) -> None:
        """Raise when there is nothing left to wait for."""
        daemon = self.processes.daemon
        if daemon is not None and daemon.poll() is not None:
            problem = f"the daemon ended with exit code {daemon.returncode}"
        elif time.monotonic() > deadline:
            waiting = [task.name for task in tasks if not task.status.is_terminal]
            problem = f"nothing happened for {STALL_TIMEOUT_S:.0f} seconds; open: " + (
                ", ".join(waiting) or "the auto-fix task, which was not filed"
            )
        else:
            return
        raise errors.RunError(f"{problem}. The daemon's log:\n{tail(self.processes.daemon_log)}")

    def _outcome(self, api: DemoApi, task: Task, tasks: list[Task]) -> TaskOutcome:
        names = {other.id: other.name for other in tasks}
        return TaskOutcome(
            name=task.name,
            status=task.status,
            reason=task.message or task.error_code,
            run_time_s=api.run_time_s(task.id),
            log_lines=self._log_lines.get(task.id, 0),
            artifacts=tuple(api.artifacts(task.id)),
            auto_fix_of=names.get(task.parent_task_id or ""),
        )

    def _end(self, api: DemoApi) -> list[str]:
        """End the session and return what the daemon then did wrong."""
        api.end_session(self._session_id)
        code = self.processes.wait_for_daemon(STALL_TIMEOUT_S)
        if code == 0:
            return []
        problem = "did not end" if code is None else f"ended with exit code {code}"
        return [f"the daemon {problem} when the session ended"]


def show(*, keep: bool, as_json: bool) -> int:
    """Show the session's tasks from beginning to end; return the exit code."""
    view: View = Silent() if as_json else make_view(most_tasks=len(WANTED) + 1)
    with Interruption().heard() as interruption:
        run = Showing(view, interruption, keep=keep)
        kept = False
        try:
            outcomes, complaints = run.play()
            kept = keep
            if kept:
                run.note_processes()
        finally:
            if not kept:
                run.processes.remove()
        if as_json:
            tasks = [dataclasses.asdict(outcome) for outcome in outcomes]
            print_json({"tasks": tasks, "complaints": complaints, **run.addresses(kept)})
        else:
            print_outcome(outcomes, complaints)
            if kept:
                run.print_addresses()
            else:
                click.echo("No process and no file of it is left.")
    return 1 if complaints else 0
