"""What a script may ask of its own run's artifacts, on the socket."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Mapping
from typing import Any, Final

from keruta_agent import errors
from keruta_agent.journey import select_artifacts
from keruta_agent.journey.agent import Agent
from keruta_agent.local.told import kept_artifact_to_json
from keruta_agent.records.artifacts import Artifact, Owner, named
from keruta_agent.records.run import Run
from keruta_agent.runs.messages import ArtifactTold

#: Seconds that an answer waits for what the script told before its question.
PATIENCE_S: Final = 5.0
LOOK_S: Final = 0.02


def refuse_if_too_large(agent: Agent, told: ArtifactTold) -> None:
    """Refuses a file over the limit, whatever the command that copied it thought of it.

    Raises:
        UsageError: it is too large.
    """
    complaint = select_artifacts.too_large(told.size, agent.settings.artifacts_max_size)
    if complaint:
        raise errors.UsageError(f"the artifact {select_artifacts.wire_path(told.path)} {complaint}")


def listed(agent: Agent, run: Run) -> dict[str, Any]:
    """Returns the artifacts of the task or job that a run belongs to."""
    return {"artifacts": [kept_artifact_to_json(each) for each in _of(agent, run)]}


def removed(agent: Agent, run: Run, request: Mapping[str, Any]) -> dict[str, Any]:
    """Takes an artifact back.

    Raises:
        NotFound: there is none of these names.
    """
    names = [str(name) for name in request["names"]]
    artifact = named(_of(agent, run), names)
    if artifact is None:
        raise errors.NotFound(
            f"there is no artifact {names[0]}", advice="See: keruta artifact list"
        )
    was = agent.records.artifacts.remove(artifact)
    return {"path": artifact.path, "was": None if was is None else was.value}


def _of(agent: Agent, run: Run) -> list[Artifact]:
    _wait_until_heeded(agent, run)
    job = agent.records.jobs.get(run.job_id)
    if job is None:
        raise errors.NotFound("the run's job is gone")
    return agent.records.artifacts.of(Owner.of_run(job, run))


def _wait_until_heeded(agent: Agent, run: Run) -> None:
    """Waits until everything is stored that the script told before."""
    with contextlib.suppress(FileNotFoundError):
        told = agent.directory_of(run).agent.stat().st_size
        deadline = time.monotonic() + PATIENCE_S
        while agent.records.runs.offsets(run.id)["agent"] < told and time.monotonic() < deadline:
            agent.wake_event.wake()
            time.sleep(LOOK_S)
