"""Reports on a task from outside a run: through the outbox, to the API."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import sys
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

import click

from keruta_agent.agent.control.commands import Flush, Status
from keruta_agent.agent.control.socket import client
from keruta_agent.agent.daemon.lock import agent_lock
from keruta_agent.agent.daemon.wiring import make_client, make_outbox_sender
from keruta_agent.agent.delivery import select_artifacts
from keruta_agent.agent.delivery.select_artifacts import Taken
from keruta_agent.agent.run.artifacts import copies, media
from keruta_agent.agent.store.artifacts import ArtifactState, Owner
from keruta_agent.agent.store.outbox import Kind
from keruta_agent.agent.store.store import Records
from keruta_agent.core import errors
from keruta_agent.core.model import ArtifactFile, LogLevel, StatusReport, TaskStatus
from keruta_agent.core.settings.schema import Settings

#: Seconds that a command waits for a running daemon to deliver what it was given.
DELIVERY_TIMEOUT_S: Final = 10.0
LOOK_S: Final = 0.05
#: In the base directory: copies of artifacts that were added outside of a run.
KEPT: Final = "kept-artifacts"


class DirectReport:
    """The reports on one task from outside a run, sent at the end of the block."""

    def __init__(self, settings: Settings) -> None:
        if settings.task_id is None:
            raise errors.UsageError(
                "it is not known which task is meant",
                advice="Give --task-id ID, or set KERUTA_TASK_ID; scripts of the daemon have it",
            )
        if settings.api_url is None:
            raise errors.SettingsError(
                "it is not known where the keruta API is",
                advice="Give --api-url URL, or set KERUTA_API_URL",
            )
        self._task_id = settings.task_id
        self._settings = settings
        self._api = make_client(settings)
        self._kept = settings.base_dir / KEPT
        self._records = Records.open(settings.base_dir)
        self._outbox_sender = make_outbox_sender(settings, self._records, self._api)
        self._keys: list[str] = []
        # What the sender logs as warnings is said by _print_outcome, in one line.
        logging.getLogger("keruta_agent").addHandler(logging.NullHandler())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        try:
            if error is None and self._keys:
                self._deliver()
        finally:
            self._records.close()

    def is_running(self) -> bool:
        """Ask the API whether the task is being worked on; one that is away does not know."""
        try:
            return self._api.task(self._task_id).status is TaskStatus.PROCESSING
        except (errors.ApiUnreachable, errors.ApiOverloaded, errors.ApiAmbiguous):
            return False

    def status(self, report: StatusReport) -> None:
        """Report the state of the task."""
        self._add(Kind.STATUS, dataclasses.asdict(report))

    def progress(self, percent: int, message: str) -> None:
        """Report the task's progress."""
        self._add(Kind.PROGRESS, {"percent": percent, "message": message})

    def log(self, level: LogLevel, message: str, fields: Mapping[str, str]) -> None:
        """Add a line to its log."""
        self._add(
            Kind.LOG_LINE,
            {"level": level, "message": message, "source": "agent", "metadata": dict(fields)},
        )

    def artifacts(self, directory: Path) -> None:
        """Store the files in a directory with it."""
        for entry, descriptor in select_artifacts.wanted_files(self._settings, directory):
            self._add_artifact(select_artifacts.take(entry, descriptor, directory, self._kept))

    def artifact(self, descriptor: int, path: str, description: str) -> None:
        """Store an open file with it, copied: what waits for the API may be deleted meanwhile.

        Raises:
            OSError: it cannot be read, or there is no room for the copy.
        """
        copy = copies.take(descriptor, self._kept, path, durable=True)
        file = ArtifactFile(
            file=copy.file,
            relative_path=select_artifacts.wire_path(path),
            size=copy.size,
            sha256=copy.sha256,
            content_type=media.content_type(descriptor, path),
            description=description,
        )
        self._add_artifact(Taken(file=file, is_copy=True))

    def _add_artifact(self, taken: Taken) -> None:
        file = taken.file
        owner = Owner(task_id=self._task_id)
        known = self._records.artifacts.known(owner, file.relative_path, file.sha256)
        if known is not None and known.state in (ArtifactState.WAITING, ArtifactState.SENT):
            if taken.is_copy:
                file.file.unlink()
            return
        key = f"direct-{uuid.uuid4().hex}"
        self._records.artifacts.add(owner, file, key=key, is_copy=taken.is_copy)
        self._keys.append(key)

    def auto_fix(self, message: str, error_code: str) -> None:
        """Ask for a task that fixes it."""
        self._add(Kind.AUTO_FIX, {"error_message": message, "error_code": error_code})

    def _add(self, kind: Kind, payload: Mapping[str, Any]) -> None:
        key = f"direct-{uuid.uuid4().hex}"
        self._records.outbox.add(kind, self._task_id, payload, run_id=None, key=key)
        self._keys.append(key)

    def _deliver(self) -> None:
        """Deliver it through a running daemon, which keeps the order, or from here."""
        try:
            client.ask(self._settings.base_dir, Flush())
        except errors.AgentUnreachable:
            self._deliver_here()
        else:
            self._wait()
        self._print_outcome()

    def _deliver_here(self) -> None:
        with contextlib.suppress(errors.AlreadyRunning), agent_lock(self._settings.base_dir):
            self._outbox_sender.deliver_task(self._task_id)

    def _wait(self) -> None:
        """Wait until the daemon has tried it, or knows that the API is away."""
        deadline = time.monotonic() + DELIVERY_TIMEOUT_S
        while time.monotonic() < deadline:
            entries = [self._records.outbox.entry_of(key) for key in self._keys]
            if all(entry is None or entry.state == "parked" or entry.attempts for entry in entries):
                return
            if self._daemon_knows_api_is_away():
                return
            time.sleep(LOOK_S)

    def _daemon_knows_api_is_away(self) -> bool:
        try:
            return bool(client.ask(self._settings.base_dir, Status()).get("api_away"))
        except errors.AgentUnreachable:
            return True  # stopped meanwhile: nobody will deliver it now

    def _print_outcome(self) -> None:
        entries = [entry for key in self._keys if (entry := self._records.outbox.entry_of(key))]
        for artifact in filter(None, map(self._records.artifacts.by_key, self._keys)):
            if artifact.state is ArtifactState.LOCAL:
                click.echo(
                    f"keruta: {artifact.path} stays on this machine, in {artifact.file}: "
                    f"{artifact.reason}",
                    file=sys.stderr,
                )
        refused = [entry for entry in entries if entry.state == "parked"]
        for entry in refused:
            self._records.outbox.remove(entry.key)
        if refused:
            raise errors.ApiRefused(
                f"the API refuses the report on task {self._task_id}: {refused[0].last_error}"
            )
        if entries:
            said = next((entry.last_error for entry in entries if entry.last_error), "")
            problem = f"does not take it now: {said}" if said else "cannot be reached now"
            click.echo(
                f"keruta: the API {problem}; the report is kept and sent later "
                "(by the next keruta daemon, or the next command like this)",
                file=sys.stderr,
            )
