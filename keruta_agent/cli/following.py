"""A job's output as it comes, and the wait for its end."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import BinaryIO, Final

import click

from keruta_agent.agent.control.commands import Cancel
from keruta_agent.agent.run.directory import RUNS_DIRECTORY
from keruta_agent.agent.run.files import open_regular
from keruta_agent.agent.store.jobs import Job, JobState
from keruta_agent.agent.store.run import Outcome, Run
from keruta_agent.agent.store.store import Records
from keruta_agent.cli.asking import ask
from keruta_agent.cli.forwarding import Forwarder
from keruta_agent.core import errors
from keruta_agent.core.settings.schema import Settings

LOOK_S: Final = 0.05
COPY_BYTES: Final = 64 * 1024
#: What a shell answers for a command that a signal ended.
EXIT_BY_SIGNAL: Final = 128
#: What a shell answers for a command that could not be started.
EXIT_NOT_STARTED: Final = 126
#: Who cancelled a job, by the signal that `keruta execute` got.
CANCELLED_BY: Final = {
    signal.SIGINT: "Cancelled by a person, with Ctrl-C",
    signal.SIGTERM: "Cancelled with keruta execute, which got SIGTERM",
}
READER_LEFT: Final = "Cancelled with keruta execute, whose output nobody reads any more"


class Interrupted(KeyboardInterrupt):
    """Another signal than Ctrl-C, with the same meaning."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = signal.Signals(number)


def follow(settings: Settings, job_id: int, *, is_served: Callable[[], bool] = lambda: True) -> int:
    """Copy a job's output to ours, and our input to it, until it ends; return its exit code.

    Ctrl-C or SIGTERM cancels the job, a second one leaves it; the end of whoever reads our output
    cancels it, too.
    ``is_served`` tells whether somebody still brings the job to its end.

    Raises:
        RunError: nobody does any more.
    """
    records = Records.open(settings.base_dir)
    try:
        follower = _JobFollower(settings, records, job_id, is_served)
        try:
            follower.print_place()
            return follower.until_end()
        except KeyboardInterrupt as interrupt:
            number = interrupt.number if isinstance(interrupt, Interrupted) else signal.SIGINT
            click.echo(f"keruta: cancels job {job_id}", file=sys.stderr)
            ask(settings, Cancel(job=job_id, reason=CANCELLED_BY[number]))
            follower.until_end()
            return EXIT_BY_SIGNAL + number
        except BrokenPipeError:  # as in `keruta execute ... | head`: a script alone would end, too
            follower.mute()
            ask(settings, Cancel(job=job_id, reason=READER_LEFT))
            follower.until_end()
            return EXIT_BY_SIGNAL + signal.SIGPIPE
        finally:
            follower.close()
    finally:
        records.close()


@contextlib.contextmanager
def interrupted_by_sigterm() -> Iterator[None]:
    """Make SIGTERM interrupt the block as Ctrl-C does."""

    def interrupt(number: int, frame: FrameType | None) -> None:
        raise Interrupted(number)  # and nothing else: no handler may take a lock

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


class _JobFollower:
    def __init__(
        self, settings: Settings, records: Records, job_id: int, is_served: Callable[[], bool]
    ) -> None:
        self._runs_dir = settings.base_dir / RUNS_DIRECTORY
        self._jobs = records.jobs
        self._runs = records.runs
        self._job_id = job_id
        self._is_served = is_served
        self._copied: dict[Path, int] = {}
        self._is_muted = False
        self._forwarder = Forwarder(settings, records, job_id)

    def close(self) -> None:
        """Leave our terminal as it was."""
        self._forwarder.close()

    def mute(self) -> None:
        """Show nothing any more: the reader is gone."""
        self._is_muted = True

    def print_place(self) -> None:
        """Print at once what the job waits for, so that silence does not look like a script's."""
        job = self._jobs.get(self._job_id)
        if job is None or job.state is not JobState.WAITING:
            return
        active = self._runs.active()
        if active is not None and active[0].id == job.id:  # it has begun meanwhile
            return
        waiting = self._jobs.ahead_of(job)
        ahead = ([] if active is None else [active[0].id]) + self._jobs.waiting_ids(min(waiting, 1))
        parts = [f"queued as job {job.id}"]
        if ahead:
            more = waiting - (active is None)
            others = f" and {more} more" if more > 0 else ""
            parts.append(f"behind job {ahead[0]}{others}")
        if (paused := self._jobs.pause_reason()) is not None:
            parts.append(f"and the queue is paused: {paused}. Go on with: keruta queue resume")
        if len(parts) > 1:
            click.echo(f"keruta: {', '.join(parts)}", file=sys.stderr)

    def until_end(self) -> int:
        while True:
            is_served = self._is_served()  # asked first: its last act is to store the end
            job = self._jobs.get(self._job_id)
            if job is None:
                raise errors.NotFound(f"there is no job {self._job_id}")
            runs = self._runs.of_job(job.id)
            copied = self._copy_output(runs[-1]) if runs else False
            forwarded = job.state is JobState.RUNNING and self._forwarder.look(job, runs[-1])
            if job.state is JobState.FINISHED and not copied:
                return _exit_code(job, runs)
            if not copied and not is_served:
                raise errors.RunError(
                    f"the agent broke at job {job.id}",
                    advice="Run keruta daemon --verbose, which takes the job up again",
                )
            if not copied and not forwarded:
                time.sleep(LOOK_S)

    def _copy_output(self, run: Run) -> bool:
        directory = self._runs_dir / run.directory
        out = self._copy(directory / "stdout", sys.stdout.buffer)
        err = self._copy(directory / "stderr", sys.stderr.buffer)
        return out or err

    def _copy(self, path: Path, target: BinaryIO) -> bool:
        if self._is_muted:
            return False
        done = self._copied.get(path, 0)
        try:
            with os.fdopen(open_regular(path), "rb") as source:
                source.seek(done)
                data = source.read(COPY_BYTES)
        except FileNotFoundError:
            return False
        if data:
            target.write(data)
            target.flush()
            self._copied[path] = done + len(data)
        return bool(data)


def _exit_code(job: Job, runs: list[Run]) -> int:
    """Return the script's own exit code, or what a shell would have answered."""
    if job.outcome == Outcome.SUCCEEDED:
        return os.EX_OK
    if not job.exit_code and job.message:
        click.echo(f"keruta: {job.message}", file=sys.stderr)
    if job.exit_code is not None:
        return job.exit_code or 1
    if runs and runs[-1].signal is not None:
        return EXIT_BY_SIGNAL + runs[-1].signal
    return EXIT_NOT_STARTED if job.outcome == Outcome.NOT_STARTED else 1
