"""The keep-awake hook: a program that reports the workspace as in use while a script runs.

Workspaces such as Coder's stop when nobody has been connected for a while, and a script that
runs is no connection. How to report use differs from platform to platform, so that the operator
provides the program (etc/coder has one).
"""

from __future__ import annotations

import logging
import os
import sqlite3
import subprocess
import tempfile
import threading
import time
from pathlib import Path
from typing import Final

from keruta_agent.agent.journey.agent import Agent
from keruta_agent.agent.run.interpreter import command_for
from keruta_agent.core.process_tree import waiting as command
from keruta_agent.core.process_tree.children import OWN
from keruta_agent.core.units import format_duration

logger = logging.getLogger(__name__)

#: Seconds between looks whether a script runs.
LOOK_S: Final = 5.0
#: Last bytes of what the program wrote that a warning shows.
TAIL_BYTES: Final = 500
#: The agent's own secrets, which the program does not get.
_WITHHELD: Final = ("KERUTA_API_TOKEN", "KERUTA_DAEMON_TOKEN", "GIT_TOKEN")


class KeepAwake:
    """A thread that runs the program at intervals while a script runs.

    Not while the script waits for a person: that may take days, in which nothing is worked on.
    """

    def __init__(self, agent: Agent, program: Path) -> None:
        self._agent = agent
        self._program = program
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._work, name="keep-awake", daemon=True)

    def start(self) -> None:
        """Begin to look."""
        self._thread.start()

    def stop(self) -> None:
        """End the thread, and the program if it runs."""
        self._stop.set()
        self._thread.join()

    def _work(self) -> None:
        due = time.monotonic()
        while not self._stop.wait(LOOK_S):
            if time.monotonic() >= due and self._script_runs():
                due = time.monotonic() + self._agent.settings.keep_awake_interval_s
                self._report_use()

    def _script_runs(self) -> bool:
        try:
            active = self._agent.records.runs.active()
            return (
                active is not None and self._agent.records.questions.current(active[1].id) is None
            )
        except sqlite3.Error as exc:
            logger.warning(
                "cannot see whether a script runs: %s", exc, extra={"action": "keep_awake_failed"}
            )
            return False

    def _report_use(self) -> None:
        try:
            trouble = self._run()
        except OSError as exc:
            trouble = f"cannot be started: {exc.strerror}"
        if trouble:
            logger.warning(
                "the workspace may stop while a script runs: the keep-awake hook %s %s",
                self._program,
                trouble,
                extra={"action": "keep_awake_failed"},
            )

    def _run(self) -> str:
        """Run the program; return what went wrong.

        Raises:
            OSError: it cannot be started.
        """
        limit_s = self._agent.settings.hook_timeout_s
        with tempfile.TemporaryFile() as output:
            process = OWN.spawn(
                command_for(self._program),
                env={name: value for name, value in os.environ.items() if name not in _WITHHELD},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
            try:
                code = command.wait(process, limit_s, self._stop_reason)
            except command.TookTooLongError:
                return f"took longer than {format_duration(limit_s)}"
            except command.StoppedError:
                return ""
            if code == 0:
                return ""
            output.seek(max(0, output.seek(0, os.SEEK_END) - TAIL_BYTES))
            last = output.read().decode("utf-8", errors="replace").split("\n")
            said = next((line.strip() for line in reversed(last) if line.strip()), "nothing")
            return f"exited with code {code} and said: {said}"

    def _stop_reason(self) -> str | None:
        return "the daemon ends" if self._stop.is_set() else None


def keep_awake(agent: Agent) -> KeepAwake | None:
    """Return the thread that reports the workspace as in use, if a program for it is set."""
    program = agent.settings.keep_awake_hook
    return None if program is None else KeepAwake(agent, program)
