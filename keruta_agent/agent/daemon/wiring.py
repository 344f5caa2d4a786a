"""The wiring of the agent: the only place that knows every implementation."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final

from keruta_agent.agent.api import KerutaClient
from keruta_agent.agent.control.http.token import token_of
from keruta_agent.agent.control.socket.address import prepare_socket_path
from keruta_agent.agent.delivery.input_requests import InputRequests
from keruta_agent.agent.delivery.loglines import LogReader
from keruta_agent.agent.delivery.outbox_sender import OutboxSender
from keruta_agent.agent.delivery.redaction import Redaction
from keruta_agent.agent.delivery.writes import WriteCheck
from keruta_agent.agent.journey.agent import Agent
from keruta_agent.agent.journey.artifacts.directory import ArtifactsDirectories
from keruta_agent.agent.journey.input.prompt_lock import PromptLock
from keruta_agent.agent.journey.session.ownership import Ownership
from keruta_agent.agent.journey.stops import Stops
from keruta_agent.agent.ports import KerutaApi, WorkQueue
from keruta_agent.agent.run.directory import RUNS_DIRECTORY, RunDirectory
from keruta_agent.agent.run.follower import WakeEvent
from keruta_agent.agent.run.launch import Launcher
from keruta_agent.agent.store.disk import Disk
from keruta_agent.agent.store.remembered.claims import KnownClaims
from keruta_agent.agent.store.remembered.identity import identity_of
from keruta_agent.agent.store.run import Run
from keruta_agent.agent.store.sqlite.database import make_private_directory
from keruta_agent.agent.store.store import Records
from keruta_agent.core import errors
from keruta_agent.core.redaction.redactor import Redactor
from keruta_agent.core.settings.schema import Settings
from keruta_agent.git.access.credentials import install_helper
from keruta_agent.git.config import user as user_config

#: Longest first line of a script that every kernel reads.
LONGEST_SHEBANG: Final = 127

_LAUNCHER: Final = """\
#!{python}
import sys
from keruta_agent.cli.entry import main
sys.exit(main())
"""
_LAUNCHER_BY_SHELL: Final = """\
#!/bin/sh
exec '{python}' -m keruta_agent "$@"
"""


def configured_api(settings: Settings) -> KerutaApi | None:
    """Return a client of the API, None when none is configured: ad-hoc scripts need none."""
    return None if settings.api_url is None else make_client(settings)


def make_client(settings: Settings) -> KerutaApi:
    """Return a client of the configured API.

    Raises:
        SettingsError: no API is configured.
    """
    if settings.api_url is None:
        raise errors.SettingsError(
            "it is not known where the keruta API is",
            advice="Set KERUTA_API_URL, or api.url in the config file; "
            "`keruta server` starts one on this machine",
        )
    return KerutaClient(
        settings.api_url,
        token=settings.api_token,
        timeout_s=settings.api_timeout_s,
        status_timeout_s=settings.api_status_timeout_s,
        processing_status=settings.api_processing_status,
        progress_via_status=settings.api_progress_via_status,
        ca_file=settings.api_ca_file,
    )


def own_redactor(settings: Settings) -> Redactor:
    """Return the redactor that knows the agent's own secrets."""
    own = {
        "KERUTA_API_TOKEN": settings.api_token or "",
        "KERUTA_API_URL": settings.api_url or "",
        "KERUTA_DAEMON_TOKEN": token_of(settings) or "",
        "GIT_TOKEN": settings.git_token or "",
    }
    return Redactor.from_environment(os.environ, own)


def make_log_reader(
    settings: Settings, records: Records, *, colours: bool = False
) -> tuple[LogReader, Redaction]:
    """Return the reader of runs' logs, with colours or without, and what masks their secrets."""
    runs_dir = settings.base_dir / RUNS_DIRECTORY

    def directory_of(run: Run) -> RunDirectory:
        return RunDirectory(runs_dir / run.directory)

    redaction = Redaction(own_redactor(settings), records, directory_of)
    return LogReader(records.runs, directory_of, redaction, colours=colours), redaction


def _sending_reader(settings: Settings, records: Records) -> tuple[LogReader, Redaction]:
    return make_log_reader(settings, records, colours=settings.log_ansi == "keep")


def make_outbox_sender(
    settings: Settings,
    records: Records,
    api: KerutaApi,
    reader: tuple[LogReader, Redaction] | None = None,
    writes: WriteCheck | None = None,
) -> OutboxSender:
    """Return the sender that delivers the outbox to the API."""
    log_reader, redaction = reader or _sending_reader(settings, records)
    input_requests = InputRequests(
        api, records.questions, processing_may_be_repeated=settings.api_progress_via_status
    )
    return OutboxSender(api, records, log_reader, redaction, input_requests, writes or WriteCheck())


def build_agent(settings: Settings, queue: WorkQueue, api: KerutaApi | None) -> Agent:
    """Return the agent with everything that it works with; its lock must be held.

    Raises:
        AgentStateError: the base directory cannot be used.
    """
    # Now, before any task runs: it could write what git is set up with.
    user_config.current()
    records = Records.open(settings.base_dir)
    make_private_directory(settings.base_dir / RUNS_DIRECTORY)
    identity = identity_of(settings.base_dir)
    # One for both: what it learns of secrets while scripts run must be masked everywhere.
    reader = _sending_reader(settings, records)
    writes = WriteCheck()
    return Agent(
        settings=settings,
        records=records,
        artifacts_directories=ArtifactsDirectories(identity.id, settings.base_dir),
        ownership=Ownership(
            api,
            identity,
            KnownClaims(records.database, settings.api_url or ""),
            settings.session_lease_s,
        ),
        api=api,
        outbox_sender=None
        if api is None
        else make_outbox_sender(settings, records, api, reader, writes),
        redaction=reader[1],
        queue=queue,
        disk=Disk(settings.base_dir),
        stops=Stops(records.jobs, records.runs),
        prompt_lock=PromptLock(),
        wake_event=WakeEvent(),
        launcher=Launcher(),
        writes=writes,
        socket_path=prepare_socket_path(settings.base_dir),
        command_dir=_install_command(settings.base_dir),
    )


def _install_command(base_dir: Path) -> Path:
    """Make a directory that holds just this ``keruta``, for the front of the scripts' PATH.

    Our own directory of programs would not do: its ``python`` and ``pip`` would hide the
    user's.
    """
    directory = base_dir / "bin"
    python = sys.executable
    if " " in python or len(os.fsencode(python)) + len("#!\n") > LONGEST_SHEBANG:
        quoted = python.replace("'", "'\\''")
        text = _LAUNCHER_BY_SHELL.format(python=quoted)
    else:
        text = _LAUNCHER.format(python=python)
    make_private_directory(directory)
    for name in ("keruta", "keruta-agent"):
        temporary = directory / f"{name}.new"
        temporary.write_text(text, encoding="utf-8")
        temporary.chmod(0o700)
        temporary.rename(directory / name)
    install_helper(directory)
    return directory
