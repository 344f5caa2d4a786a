"""Artifacts that a script adds while it runs (``keruta artifact add``)."""

from __future__ import annotations

import os

from keruta_agent.agent.delivery import select_artifacts
from keruta_agent.agent.journey.context import RunContext
from keruta_agent.agent.run.artifacts import copies, media
from keruta_agent.agent.run.directory import ADDED
from keruta_agent.agent.run.files import open_regular
from keruta_agent.agent.run.messages import ArtifactMessage
from keruta_agent.agent.store.artifacts import ArtifactState
from keruta_agent.core.model import ArtifactFile


def take_in(ctx: RunContext, message: ArtifactMessage) -> None:
    """Store a file that the script added (``keruta artifact add``), if it has changed.

    Raises:
        ValueError: the copy that the command left is gone or was changed.
    """
    owner = ctx.owner
    path = select_artifacts.wire_path(message.path)
    copy = ctx.directory.path / ADDED / message.file
    known = ctx.records.artifacts.known(owner, path, message.sha256)
    if known is not None and known.state in (ArtifactState.WAITING, ArtifactState.SENT):
        copies.drop(copy)
        return
    try:
        descriptor = open_regular(copy)
    except OSError as exc:
        raise ValueError(f"the copy of the artifact {path} is gone: {exc.strerror}") from exc
    try:
        if os.fstat(descriptor).st_size != message.size:
            raise ValueError(f"the copy of the artifact {path} was changed")
        kind = media.content_type(descriptor, message.path)
    finally:
        os.close(descriptor)
    file = ArtifactFile(
        file=copy,
        relative_path=path,
        size=message.size,
        sha256=message.sha256,
        content_type=kind,
        description=message.description,
    )
    ctx.records.artifacts.add(
        owner, file, key=f"{ctx.run.uid}-added-{message.file[:16]}", is_copy=True
    )
