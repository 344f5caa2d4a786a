"""Handlers of what people ask about the artifacts of a task or job, after its run too."""

from __future__ import annotations

from collections.abc import Sequence

from keruta_agent.agent.control.commands import RemovedArtifact, RemoveStoredArtifact
from keruta_agent.agent.control.control import Control
from keruta_agent.agent.store.artifacts import Artifact, Owner, named
from keruta_agent.core import errors


def remove_stored(control: Control, command: RemoveStoredArtifact) -> RemovedArtifact:
    """Remove an artifact of a task or job.

    Raises:
        NotFound: there is none of these names.
    """
    owner = Owner(task_id=command.task, job_id=command.job)
    return remove(control, control.records.artifacts.of(owner), command.names)


def remove(
    control: Control, artifacts: Sequence[Artifact], names: Sequence[str]
) -> RemovedArtifact:
    """Remove the first of these artifacts that has one of these names.

    Raises:
        NotFound: there is none of these names.
    """
    artifact = named(artifacts, names)
    if artifact is None:
        raise errors.NotFound(
            f"there is no artifact {names[0]}", advice="See: keruta artifact list"
        )
    was = control.records.artifacts.remove(artifact)
    return RemovedArtifact(path=artifact.path, was=None if was is None else was.value)
