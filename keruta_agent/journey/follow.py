"""Follows a run's files until nothing of the run is left.

Each look stores which pieces of output are new, together with what the script told the agent in
them, in one transaction: what was stored is never read again, what was not is read by whoever
follows next.
"""

from __future__ import annotations

import contextlib
import logging
import time
from typing import Final

from keruta_agent import errors
from keruta_agent.journey.agent import Agent
from keruta_agent.records.jobs import Job
from keruta_agent.records.runs import Run
from keruta_agent.runs import messages, output, processes
from keruta_agent.runs.directory import ExitRecord, ProcessId, RunDirectory
from keruta_agent.runs.follower import ProcessWatch

logger = logging.getLogger(__name__)

#: Seconds between looks while output comes. Logs are to be at most a second behind.
BUSY_INTERVAL_S: Final = 0.1
#: Seconds between looks at a silent script; its end and its messages wake us at once.
SILENT_INTERVAL_S: Final = 0.5


def until_end(agent: Agent, job: Job, run: Run, shim: ProcessId) -> ExitRecord | None:
    """Follows a run and returns how it ended; None when nobody could record that.

    Raises:
        RunError: the shim failed before it came to the script.
    """
    directory = agent.directory_of(run)
    follower = _Follower(agent, job, run, directory)
    interval = BUSY_INTERVAL_S
    stop_asked = False
    with (
        contextlib.closing(follower),
        contextlib.closing(ProcessWatch(shim, agent.doorbell)) as watch,
    ):
        while not watch.has_ended():
            follower.note_start(shim)
            found_some = follower.look()
            interval = BUSY_INTERVAL_S if found_some else min(interval * 1.5, SILENT_INTERVAL_S)
            if not stop_asked and _is_cancelled(agent, job):
                stop_asked = True
                processes.stop_shim(shim)
            watch.wait(interval)
        record = directory.read_exit()
        if record is None:
            processes.sweep(run.uid, agent.settings.stop_grace_s)
        follower.look(final=True)
    if record is None and directory.read_identity() is None and not follower.has_started:
        complaint = " ".join(output.tail(directory.path / "shim.err", 1))
        raise errors.RunError(f"the script could not be started: {complaint or 'no reason given'}")
    return record


def _is_cancelled(agent: Agent, job: Job) -> bool:
    current = agent.jobs.get(job.id)
    return current is not None and current.cancel_reason is not None


class _Follower:
    """Reads one run's files and stores what it finds."""

    def __init__(self, agent: Agent, job: Job, run: Run, directory: RunDirectory) -> None:
        self._agent = agent
        self._job = job
        self._run = run
        self._directory = directory
        #: Whether the script is known to have been started, even if its directory is lost later.
        self.has_started = run.shim_pid is not None
        try:
            self._output = output.OutputFiles(directory.path, agent.runs.offsets(run.id))
        except OSError as exc:
            raise errors.RunError(f"cannot read the output of run {run.uid}: {exc}") from exc

    def close(self) -> None:
        self._output.close()

    def note_start(self, shim: ProcessId) -> None:
        """Stores once that the script was started: the run directory alone may be removed."""
        if not self.has_started and self._directory.identity.exists():
            self._agent.runs.set_shim(self._run.id, shim.pid)
            self.has_started = True

    def look(self, *, final: bool = False) -> bool:
        """Stores what is new; tells whether there was anything."""
        pieces = list(self._output.new_pieces(final=final))
        if not pieces:
            return False
        with self._agent.database.transaction():
            self._agent.runs.add_ranges(self._job, self._run, pieces, time.time())
            for stream, start, stop in pieces:
                if stream == "agent":
                    for line in output.read_lines(self._directory.agent, start, stop):
                        self._heed(line)
        self._agent.queue.outbox_filled()
        return True

    def _heed(self, line: str) -> None:
        """Stores what a script told the agent."""
        try:
            told = messages.parse(line)
        except ValueError as exc:
            logger.warning(
                "run %s: ignores a message from the script: %s",
                self._run.uid,
                exc,
                extra={"action": "message_unreadable", "run": self._run.uid},
            )
            return
        if isinstance(told, messages.ProgressTold):
            self._agent.runs.report_progress(self._job, self._run, told.percent, told.message)
        elif isinstance(told, messages.EndTold):
            self._agent.runs.report_end(
                self._run.id,
                told.status,
                message=told.message,
                error_code=told.error_code,
                wants_auto_fix=told.auto_fix,
                artifacts_dir=told.artifacts_dir,
            )
