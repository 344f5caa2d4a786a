"""Shows a job's output as it comes, and waits for its end."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO, Final

import click

from keruta_agent import errors
from keruta_agent.cli.forwarding import Forwarder
from keruta_agent.local import client
from keruta_agent.records.jobs import CANCELLED_BY_A_PERSON, Job, JobState
from keruta_agent.records.run import Outcome, Run
from keruta_agent.records.store import Records
from keruta_agent.runs.directory import RUNS_DIRECTORY
from keruta_agent.runs.files import open_regular
from keruta_agent.settings.schema import Settings

LOOK_S: Final = 0.05
COPY_BYTES: Final = 64 * 1024
#: What a shell answers for a command that a signal ended.
EXIT_BY_SIGNAL: Final = 128
#: What a shell answers for a command that could not be started.
EXIT_NOT_STARTED: Final = 126
#: What a program answers that Ctrl-C ended.
EXIT_INTERRUPTED: Final = 130


def follow(settings: Settings, job_id: int, *, is_served: Callable[[], bool] = lambda: True) -> int:
    """Copies a job's output to ours, and our input to it, until it ends; returns its exit code.

    Ctrl-C cancels the job, a second one leaves it; so does an end of whoever reads our output.
    ``is_served`` tells whether somebody still brings the job to its end.

    Raises:
        RunError: nobody does any more.
    """
    records = Records.open(settings.base_dir)
    try:
        follower = _JobFollower(settings, records, job_id, is_served)
        try:
            return follower.until_end()
        except KeyboardInterrupt:
            click.echo(f"keruta: cancels job {job_id}", file=sys.stderr)
            cancel(settings, records, job_id)
            follower.until_end()
            return EXIT_INTERRUPTED
        except BrokenPipeError:  # as in `keruta execute ... | head`: a script alone would end, too
            follower.mute()
            cancel(settings, records, job_id)
            follower.until_end()
            return EXIT_BY_SIGNAL + signal.SIGPIPE
        finally:
            follower.close()
    finally:
        records.close()


def cancel(settings: Settings, records: Records, job_id: int) -> JobState:
    """Cancels a job, through the daemon if there is one; returns its state before.

    Raises:
        NotFound: there is no such job.
    """
    try:
        return JobState(client.call(settings.base_dir, {"op": "cancel", "job": job_id})["was"])
    except errors.AgentUnreachable:
        state = records.runs.cancel_job(job_id, CANCELLED_BY_A_PERSON)
    if state is None:
        raise errors.NotFound(f"there is no job {job_id}", advice="See: keruta queue list")
    return state


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
        """Leaves our terminal as it was."""
        self._forwarder.close()

    def mute(self) -> None:
        """Shows nothing any more: nobody reads it."""
        self._is_muted = True

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
    """Returns the script's own exit code, or what a shell would have answered."""
    if job.outcome == Outcome.SUCCEEDED:
        return os.EX_OK
    if not job.exit_code and job.message:
        click.echo(f"keruta: {job.message}", file=sys.stderr)
    if job.exit_code is not None:
        return job.exit_code or 1
    if runs and runs[-1].signal is not None:
        return EXIT_BY_SIGNAL + runs[-1].signal
    return EXIT_NOT_STARTED if job.outcome == Outcome.NOT_STARTED else 1
