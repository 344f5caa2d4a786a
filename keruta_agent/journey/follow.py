"""Follows a run's files until nothing of the run is left.

Each look stores which pieces of output are new, together with what the script told the agent in
them, in one transaction: what was stored is never read again, what was not is read by whoever
follows next.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import logging
import sqlite3
import time
from collections.abc import Iterator, Sequence
from typing import Final

from keruta_agent import errors
from keruta_agent.journey import collect, limits
from keruta_agent.journey.agent import Agent
from keruta_agent.journey.ask import Asker
from keruta_agent.journey.loglimit import LogLimit
from keruta_agent.journey.measure import Meter
from keruta_agent.process_tree.proc import descendants
from keruta_agent.records.clock import boot_seconds
from keruta_agent.records.jobs import Job, StopKind
from keruta_agent.records.run import Run
from keruta_agent.runs import messages, output, processes
from keruta_agent.runs.directory import ProcessId, RunDirectory
from keruta_agent.runs.exit_record import ExitRecord
from keruta_agent.runs.follower import ProcessWatch
from keruta_agent.units import format_duration

logger = logging.getLogger(__name__)

#: Pieces of output that are stored at once: between them the script's time limit is looked at.
MOST_PIECES: Final = 256
#: Seconds between looks while output comes. Logs are to be at most a second behind.
BUSY_INTERVAL_S: Final = 0.1
#: Seconds between looks at a silent script; its end and its messages wake us at once.
SILENT_INTERVAL_S: Final = 0.5
#: Seconds after the grace in which a shim must have ended everything.
SHIM_PATIENCE_S: Final = 3.0


def until_end(agent: Agent, job: Job, run: Run, shim: ProcessId) -> ExitRecord | None:
    """Follows a run and returns how it ended; None when nobody could record that.

    Raises:
        RunError: the shim failed before it came to the script.
    """
    run = agent.records.runs.get(run.id)  # with what was stored when it was started
    directory = agent.directory_of(run)
    follower = _Follower(agent, job, run, directory)
    stopper = _Stopper(agent, job, run, shim)
    meter = Meter(agent, run, shim)
    asker = Asker(agent, job, run, shim)
    interval = BUSY_INTERVAL_S
    with (
        contextlib.closing(follower),
        contextlib.closing(ProcessWatch(shim, agent.wake_event)) as watch,
        agent.prompt_lock.watched_by(asker),
    ):
        while not watch.has_ended():
            found_some, next_look = False, SILENT_INTERVAL_S
            with _waiting_for_room(agent):
                follower.note_start(shim)
                found_some = follower.look()
                meter.look()
                next_look = asker.look()
            _make_room_for_the_end(agent, shim)
            interval = BUSY_INTERVAL_S if found_some else min(interval * 1.5, SILENT_INTERVAL_S)
            watch.wait(min(interval, next_look, stopper.look()))
        follower.note_start(shim)
        record = directory.read_exit()
        if record is not None and not record.is_proved(run.exit_digest):
            record = None
        sweep(agent, job, run, is_clear=record is not None)
        follower.look(final=True)
    # A script that came in between two looks may have replaced the whole directory.
    was_never_started = directory.read_about() is not None and directory.read_identity() is None
    if record is None and was_never_started and not follower.has_started:
        complaint = " ".join(output.tail(directory.path / "shim.err", 1))
        raise errors.RunError(f"the script could not be started: {complaint or 'no reason given'}")
    return record


def _make_room_for_the_end(agent: Agent, shim: ProcessId) -> None:
    """Give back the reserve for the record of an end, once nothing of the run can fill it up."""
    room = agent.room
    if room.holds_reserve and room.is_full() and not descendants(shim.pid):
        room.give_back_reserve()


@contextlib.contextmanager
def _waiting_for_room(agent: Agent) -> Iterator[None]:
    """Passes over a full disk: what cannot be stored now is found again at the next look.

    Who follows a script must not leave it alone meanwhile: its time limit holds.
    """
    try:
        yield
    except (OSError, sqlite3.OperationalError) as exc:
        if not agent.room.is_wanting(exc):
            raise
    else:
        agent.room.was_found()


def sweep(agent: Agent, job: Job, run: Run, *, is_clear: bool = False) -> None:
    """Ends what is left of a run that nobody looks after any more.

    Where its shim has shown that nothing is left, one look confirms it.
    """
    pids = processes.sweep(run.uid, agent.settings.stop_grace_s, is_clear=is_clear)
    if pids:
        with _waiting_for_room(agent):
            agent.records.journal.add("swept", job.id, run.number, pids=pids)


def catch_up(agent: Agent, job: Job, run: Run, *, final: bool = False) -> None:
    """Stores what was written before or after the script; with ``final`` also unfinished lines.

    Raises:
        RunError: the files cannot be read.
    """
    with contextlib.closing(_Follower(agent, job, run, agent.directory_of(run))) as follower:
        follower.look(final=final)


def _began(agent: Agent, run: Run) -> float:
    """Return the seconds since boot at which the time limit of a run began."""
    if run.launched_at is not None:
        return run.launched_at
    # An older agent started it. What its directory says may delay nothing.
    script = agent.directory_of(run).read_process()
    return boot_seconds() if script is None else min(script.started_at, boot_seconds())


class _Stopper:
    """Stops a run when somebody asks for it, or when its time is over."""

    def __init__(self, agent: Agent, job: Job, run: Run, shim: ProcessId) -> None:
        self._agent = agent
        self._job = job
        self._run = run
        self._shim = shim
        self._began = _began(agent, run)
        self._timeout_s = limits.timeout_s(job, agent.settings)
        self._asked_at: float | None = None

    def look(self) -> float:
        """Does what is due; returns the seconds until there is something to do again."""
        processes.thaw(self._shim)
        if self._asked_at is not None:
            return self._insist(boot_seconds() - self._asked_at)
        left = self._seconds_left()
        if left <= 0:
            self._agent.stops.request(
                self._job.id,
                StopKind.TIMED_OUT,
                f"The script took longer than {format_duration(self._timeout_s)}",
            )
        kind = self._agent.stops.is_asked(self._job.id)
        if kind is None:
            return left
        self._asked_at = boot_seconds()
        with _waiting_for_room(self._agent):
            self._agent.records.journal.add(
                "stopping", self._job.id, self._run.number, pid=self._shim.pid, kind=kind
            )
        processes.stop_shim(self._shim)
        return self._agent.settings.stop_grace_s

    def _seconds_left(self) -> float:
        if not self._timeout_s:
            return SILENT_INTERVAL_S
        return self._began + self._timeout_s - boot_seconds()

    def _insist(self, asked_s: float) -> float:
        """Does the shim's work when the shim itself does not come to it."""
        patience = self._agent.settings.stop_grace_s + SHIM_PATIENCE_S
        if asked_s > patience and descendants(self._shim.pid):
            processes.kill_tree(self._shim, self._run.uid)
            with _waiting_for_room(self._agent):
                self._agent.records.journal.add(
                    "unheeded", self._job.id, self._run.number, pid=self._shim.pid
                )
        elif asked_s > patience and self._shim.is_alive():
            # To kill it, too, would lose how the script ended. A daemon that stops leaves it be.
            raise OSError(errno.ENOSPC, "the end of the script waits to be recorded")
        return max(patience - asked_s, SILENT_INTERVAL_S)


class _Follower:
    """Reads one run's files and stores what it finds."""

    def __init__(self, agent: Agent, job: Job, run: Run, directory: RunDirectory) -> None:
        self._agent = agent
        self._job = job
        self._run = run
        self._directory = directory
        #: Whether the script is known to have been started, even if its directory is lost later.
        self.has_started = run.shim_pid is not None
        self._open()

    def _open(self) -> None:
        self._limit = LogLimit(self._agent, self._job, self._run)
        try:
            self._output = output.OutputFiles(
                self._directory.path,
                self._agent.records.runs.offsets(self._run.id),
                piece_bytes=self._limit.piece_bytes,
            )
        except OSError as exc:
            raise errors.RunError(f"cannot read the output of run {self._run.uid}: {exc}") from exc

    def close(self) -> None:
        self._output.close()

    def note_start(self, shim: ProcessId) -> None:
        """Stores once that the script was started: the run directory alone may be removed."""
        if not self.has_started and self._directory.identity.exists():
            self._agent.records.runs.started(self._job, self._run, shim.pid)
            self.has_started = True

    def look(self, *, final: bool = False) -> bool:
        """Stores what is new; tells whether there was anything."""
        found = self._look_at_some(final=final)
        while final and self._look_at_some(final=final):
            pass
        return found

    def _look_at_some(self, *, final: bool) -> bool:
        pieces = list(itertools.islice(self._output.new_pieces(final=final), MOST_PIECES))
        if not pieces:
            return False
        try:
            self._store(pieces, final=final)
        except (OSError, sqlite3.Error):
            self.close()
            self._open()  # where the records say: what could not be stored is read again
            raise
        self._agent.queue.outbox_filled()
        return True

    def _store(self, pieces: Sequence[output.Piece], *, final: bool) -> None:
        with self._agent.records.database.transaction(durable=False):
            withheld = {
                index: lines
                for index, piece in enumerate(pieces)
                if (lines := self._limit.withheld_lines(self._directory, piece, final=final))
                is not None
            }
            self._agent.records.runs.add_ranges(self._job, self._run, pieces, time.time(), withheld)
            for stream, start, stop in pieces:
                if stream == "agent":
                    for line in output.read_lines(self._directory.agent, start, stop):
                        self._heed(line)

    def _heed(self, line: str) -> None:
        """Stores what a script told the agent."""
        try:
            told = messages.parse(line)
            if isinstance(told, messages.ArtifactTold):
                collect.take_in(self._agent, self._job, self._run, told)
        except ValueError as exc:
            logger.warning(
                "run %s: ignores a message from the script: %s",
                self._run.uid,
                exc,
                extra={"action": "message_unreadable", "run": self._run.uid},
            )
            return
        redact = self._agent.redaction.of_run(self._run.id).redact
        if isinstance(told, messages.ProgressTold):
            self._agent.records.runs.report_progress(
                self._job, self._run, told.percent, redact(told.message)
            )
        elif isinstance(told, messages.EndTold):
            self._agent.records.runs.report_end(
                self._run.id,
                told.status,
                message=redact(told.message),
                error_code=told.error_code,
                wants_auto_fix=told.auto_fix,
                artifacts_dir=told.artifacts_dir,
            )
