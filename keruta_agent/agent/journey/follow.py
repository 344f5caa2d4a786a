"""The watch over a script until nothing of its run is left; it is stopped when that is due."""

from __future__ import annotations

import contextlib
import errno
import sqlite3
from collections.abc import Iterator
from typing import Final

from keruta_agent.agent.journey import limits
from keruta_agent.agent.journey.agent import Agent
from keruta_agent.agent.journey.context import RunContext
from keruta_agent.agent.journey.input.ask import Asker
from keruta_agent.agent.journey.observe.ingest import Ingester
from keruta_agent.agent.journey.observe.measure import Meter
from keruta_agent.agent.run import output, processes
from keruta_agent.agent.run.directory import ProcessId
from keruta_agent.agent.run.exit_record import ExitRecord
from keruta_agent.agent.run.follower import ProcessWatch
from keruta_agent.agent.run.launch import NeverStartedError
from keruta_agent.agent.store.jobs import StopKind
from keruta_agent.core.boot_clock import boot_seconds
from keruta_agent.core.process_tree.proc import descendants
from keruta_agent.core.units import format_duration

#: Seconds between looks while output comes. Logs are to be at most a second behind.
BUSY_INTERVAL_S: Final = 0.1
#: Seconds between looks at a silent script; its end and its messages wake us at once.
SILENT_INTERVAL_S: Final = 0.5
#: Seconds after the grace in which a shim must have ended everything.
SHIM_GRACE_S: Final = 3.0


def until_end(ctx: RunContext, shim: ProcessId) -> ExitRecord | None:
    """Follow a run and return its exit record; None when it left none.

    Raises:
        NeverStartedError: the shim failed before it came to the script.
        RunError: the run cannot be followed, because the script has removed its files, perhaps.
    """
    ctx.refresh()  # with what was stored when it was started
    stopper = _Stopper(ctx, shim)
    meter = Meter(ctx, shim)
    asker = Asker(ctx, shim)
    interval = BUSY_INTERVAL_S
    with (
        contextlib.closing(Ingester(ctx)) as ingester,
        contextlib.closing(ProcessWatch(shim, ctx.agent.wake_event)) as watch,
        ctx.agent.prompt_lock.watched_by(asker),
    ):
        while not watch.has_ended():
            found_some, next_look = False, SILENT_INTERVAL_S
            with _waiting_for_disk(ctx.agent):
                _note_start(ctx, shim)
                found_some = ingester.store_new()
                meter.look()
                next_look = asker.look()
            _free_space_for_the_end(ctx.agent, shim)
            interval = BUSY_INTERVAL_S if found_some else min(interval * 1.5, SILENT_INTERVAL_S)
            watch.wait(min(interval, next_look, stopper.look()))
        _note_start(ctx, shim)
        record = ctx.directory.read_exit()
        if record is not None and not record.is_proved(ctx.run.exit_digest):
            record = None
        sweep(ctx, is_clear=record is not None)
        ingester.store_new(final=True)
    if record is None:
        _refuse_if_never_started(ctx)
    return record


def _note_start(ctx: RunContext, shim: ProcessId) -> None:
    """Store once that the script was started: the run directory alone may be removed."""
    if ctx.run.shim_pid is None and ctx.directory.identity.exists():
        ctx.records.runs.started(ctx.job, ctx.run, shim.pid)
        ctx.refresh()


def _refuse_if_never_started(ctx: RunContext) -> None:
    directory = ctx.directory
    # A script that came in between two looks may have replaced the whole directory.
    is_intact = directory.read_about() is not None
    if ctx.run.shim_pid is None and is_intact and directory.read_identity() is None:
        complaint = " ".join(output.tail(directory.path / "shim.err", 1))
        reason = complaint or "no reason given"
        raise NeverStartedError(f"the script could not be started: {reason}")


def _free_space_for_the_end(agent: Agent, shim: ProcessId) -> None:
    """Release the reserve for the record of an end, once nothing of the run can fill it up."""
    disk = agent.disk
    if disk.holds_reserve and disk.is_full() and not descendants(shim.pid):
        disk.release_reserve()


@contextlib.contextmanager
def _waiting_for_disk(agent: Agent) -> Iterator[None]:
    """Pass over a full disk: what cannot be stored now is found again at the next look.

    The script must not be left alone meanwhile: its time limit holds.
    """
    try:
        yield
    except (OSError, sqlite3.OperationalError) as exc:
        if not agent.disk.is_unwritable(exc):
            raise
    else:
        agent.disk.note_written()


def sweep(ctx: RunContext, *, is_clear: bool = False) -> None:
    """End what is left of a run that no shim supervises any more.

    Where its shim has shown that nothing is left, one look confirms it.
    """
    pids = processes.sweep(ctx.run.uid, ctx.settings.stop_grace_s, is_clear=is_clear)
    if pids:
        with _waiting_for_disk(ctx.agent):
            ctx.records.journal.add("swept", ctx.job.id, ctx.run.number, pids=pids)


def _began(ctx: RunContext) -> float:
    """Return the seconds since boot at which the time limit of a run began."""
    if ctx.run.launched_at is not None:
        return ctx.run.launched_at
    # An older agent started it. What its directory says may delay nothing.
    script = ctx.directory.read_process()
    return boot_seconds() if script is None else min(script.started_at, boot_seconds())


class _Stopper:
    """The stop of a run, on request or at its time limit."""

    def __init__(self, ctx: RunContext, shim: ProcessId) -> None:
        self._ctx = ctx
        self._shim = shim
        self._began = _began(ctx)
        self._timeout_s = limits.timeout_s(ctx.job, ctx.settings)
        self._asked_at: float | None = None

    def look(self) -> float:
        """Do what is due; return the seconds until there is something to do again."""
        processes.thaw(self._shim)
        if self._asked_at is not None:
            return self._insist(boot_seconds() - self._asked_at)
        left = self._seconds_left()
        if left <= 0:
            self._ctx.agent.stops.request(
                self._ctx.job.id,
                StopKind.TIMED_OUT,
                f"The script took longer than {format_duration(self._timeout_s)}",
            )
        kind = self._ctx.agent.stops.is_asked(self._ctx.job.id)
        if kind is None:
            return left
        self._asked_at = boot_seconds()
        self._note("stopping", kind=kind)
        processes.stop_shim(self._shim)
        return self._ctx.settings.stop_grace_s

    def _seconds_left(self) -> float:
        if not self._timeout_s:
            return SILENT_INTERVAL_S
        return self._began + self._timeout_s - boot_seconds()

    def _insist(self, asked_s: float) -> float:
        """Do the shim's work when the shim itself does not come to it."""
        allowed_s = self._ctx.settings.stop_grace_s + SHIM_GRACE_S
        if asked_s > allowed_s and descendants(self._shim.pid):
            processes.kill_tree(self._shim, self._ctx.run.uid)
            self._note("unheeded")
        elif asked_s > allowed_s and self._shim.is_alive():
            # To kill it, too, would lose how the script ended. A daemon that stops leaves it be.
            raise OSError(errno.ENOSPC, "the end of the script waits to be recorded")
        return max(allowed_s - asked_s, SILENT_INTERVAL_S)

    def _note(self, action: str, **detail: object) -> None:
        ctx = self._ctx
        with _waiting_for_disk(ctx.agent):
            ctx.records.journal.add(
                action, ctx.job.id, ctx.run.number, pid=self._shim.pid, **detail
            )
