"""Handlers of what a script asks for its own run, for which it has the token."""

from __future__ import annotations

import contextlib
import json
import secrets
import time
from typing import Any, Final

from keruta_agent.agent.control import artifacts
from keruta_agent.agent.control.commands import (
    Done,
    ListArtifacts,
    ListedArtifacts,
    RemoveArtifact,
    RemovedArtifact,
    Report,
    RunCommand,
)
from keruta_agent.agent.control.control import Control
from keruta_agent.agent.control.serialize import kept_artifact_to_json
from keruta_agent.agent.delivery import select_artifacts
from keruta_agent.agent.journey.agent import Agent
from keruta_agent.agent.run import messages
from keruta_agent.agent.store.artifacts import Artifact, Owner
from keruta_agent.agent.store.run import Run
from keruta_agent.core import errors
from keruta_agent.core.model import TaskStatus

#: Seconds that an answer waits for what the script reported before its question.
WAIT_S: Final = 5.0
CHECK_INTERVAL_S: Final = 0.02


def authorized_run(control: Control, command: RunCommand[Any]) -> Run:
    """Return the run for which a script speaks.

    Raises:
        UsageError: the token is not that of a run that goes on.
    """
    run = control.running.records.runs.by_uid(command.run)
    if run is None or not secrets.compare_digest(run.token.encode(), command.token.encode()):
        raise errors.UsageError("this is not a run that the agent knows")
    if run.ended_at is not None:
        raise errors.UsageError("the run is over")
    return run


def report(control: Control, run: Run, command: Report) -> Done:
    """Store a message about the run and wake its follower.

    Raises:
        UsageError: the message is not valid.
        KerutaError: it contradicts what the script has reported before.
    """
    agent, message = control.running, command.message
    is_object = isinstance(message, dict)
    if is_object and message.get("kind") == messages.MASK:
        agent.directory_of(run).add_secret(str(message.get("value", "")))
        return Done()
    line = json.dumps(message, ensure_ascii=False)
    try:
        _check(agent, run, messages.parse(line))
    except ValueError as exc:
        raise errors.UsageError(str(exc)) from exc
    identity = str(message.get("id", "")) if is_object else ""
    messages.append(agent.directory_of(run).agent, line, identity=identity)
    agent.wake_event.wake()
    return Done()


def list_artifacts(control: Control, run: Run, command: ListArtifacts) -> ListedArtifacts:
    """List the artifacts of the task or job that a run belongs to."""
    found = _artifacts_of(control.running, run)
    return ListedArtifacts(artifacts=[kept_artifact_to_json(each) for each in found])


def remove_artifact(control: Control, run: Run, command: RemoveArtifact) -> RemovedArtifact:
    """Remove an artifact.

    Raises:
        NotFound: there is none of these names.
    """
    return artifacts.remove(control, _artifacts_of(control.running, run), command.names)


def _check(agent: Agent, run: Run, message: messages.Message) -> None:
    if isinstance(message, messages.ArtifactMessage):
        # Whatever the command that copied the file thought of it.
        complaint = select_artifacts.too_large(message.size, agent.settings.artifacts_max_size)
        if complaint:
            path = select_artifacts.wire_path(message.path)
            raise errors.UsageError(f"the artifact {path} {complaint}")
    is_success = isinstance(message, messages.EndMessage) and message.status is TaskStatus.COMPLETED
    if is_success and run.reported_status is TaskStatus.FAILED:
        raise errors.KerutaError(
            "the script has reported its failure already, which stands", advice=""
        )


def _artifacts_of(agent: Agent, run: Run) -> list[Artifact]:
    _wait_until_followed(agent, run)
    job = agent.records.jobs.get(run.job_id)
    if job is None:
        raise errors.NotFound("the run's job is gone")
    return agent.records.artifacts.of(Owner.of_run(job, run))


def _wait_until_followed(agent: Agent, run: Run) -> None:
    """Wait until all is stored that the script reported before."""
    runs = agent.records.runs
    with contextlib.suppress(FileNotFoundError):
        reported = agent.directory_of(run).agent.stat().st_size
        deadline = time.monotonic() + WAIT_S
        while runs.offsets(run.id)["agent"] < reported and time.monotonic() < deadline:
            agent.wake_event.wake()
            time.sleep(CHECK_INTERVAL_S)
