"""One showing of ``keruta demo``: what it runs, watches and expects."""

from __future__ import annotations

import shlex
import time
from collections.abc import Mapping
from typing import Any, Final

import click

from keruta_agent import errors
from keruta_agent.cli import demo_outcome, demo_stop
from keruta_agent.cli.demo_api import PAGE, DemoApi
from keruta_agent.cli.demo_outcome import TaskOutcome, Wanted
from keruta_agent.cli.demo_processes import DemoProcesses, Interruption, make_repository
from keruta_agent.cli.demo_view import View
from keruta_agent.model import LogEntry, LogLevel, Task, TaskStatus
from keruta_agent.proof.sandbox import tail
from keruta_agent.server.pages import examples

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
PATIENCE_S: Final = 30.0


def task_script(name: str) -> str:
    """Returns the text of a ready-made task script.

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
        """Runs everything and returns what came of each task, and what should not have."""
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
            complaints = demo_outcome.complaints(outcomes, WANTED)
            if not self._keep:
                complaints += self._end(api)
        finally:
            api.close()
        return outcomes, complaints

    def addresses(self, kept: bool) -> dict[str, Any]:
        """Returns where everything is, when it was kept."""
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
        demo_stop.note_processes(self.processes.directory, pids)

    def tell_addresses(self) -> None:
        """Prints where everything is and how to look at it and to stop it."""
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
        """Shows the tasks until all have ended, and returns them."""
        before: list[Task] = []
        deadline = time.monotonic() + PATIENCE_S
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
            if demo_outcome.has_ended(tasks, WANTED):
                return tasks
            if news:
                before, deadline = tasks, time.monotonic() + PATIENCE_S
            self._check_daemon(tasks, deadline)
            self._interruption.pause(LOOK_S)

    def _answer(self, api: DemoApi, tasks: list[Task]) -> None:
        """Answers what a script asks, as a person would."""
        for task in tasks:
            if task.status is not TaskStatus.WAITING_FOR_INPUT:
                continue
            question = api.open_question(task.id)
            known = [text for start, text in ANSWERS.items() if (question or "").startswith(start)]
            if known and api.answer(task.id, known[0]):
                line = LogEntry(level=LogLevel.INFO, message=f"(the demo answers: {known[0]})")
                self._view.log(task, [line])

    def _read_log(self, api: DemoApi, task: Task) -> bool:
        """Shows the new lines of a task's log; returns whether there were any."""
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
        """Raises when there is nothing left to wait for."""
        daemon = self.processes.daemon
        if daemon is not None and daemon.poll() is not None:
            problem = f"the daemon ended with exit code {daemon.returncode}"
        elif time.monotonic() > deadline:
            waiting = [task.name for task in tasks if not task.status.is_terminal]
            problem = f"nothing happened for {PATIENCE_S:.0f} seconds; open: " + (
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
        """Ends the session and returns what the daemon then did wrong."""
        api.end_session(self._session_id)
        code = self.processes.wait_for_daemon(PATIENCE_S)
        if code == 0:
            return []
        problem = "did not end" if code is None else f"ended with exit code {code}"
        return [f"the daemon {problem} when the session ended"]
