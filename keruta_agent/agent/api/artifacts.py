"""Storing a file at the server, streamed from disk."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import PurePosixPath
from typing import BinaryIO

import requests

from keruta_agent.core import errors
from keruta_agent.core.model import ArtifactFile
from keruta_agent.http.client.http import HttpClient, segment
from keruta_agent.http.client.multipart import MultipartBody

_FLAGS = os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOFOLLOW


def upload(
    http: HttpClient, task_id: str, artifact: ArtifactFile, *, key: str, timeout_s: float
) -> requests.Response:
    """Send a file once.

    Raises:
        NotFound: the file is gone.
        AgentStateError: the file cannot be read, or changed since it was recorded.
        ApiRefused: the server takes no file of this size, or refuses it otherwise.
    """
    action = f"Storing artifact {artifact.relative_path} of task {task_id}"
    with _opened(artifact) as file:
        body = MultipartBody(
            {
                "description": artifact.description,
                "path": artifact.relative_path,
                "sha256": artifact.sha256,
            },
            file=file,
            filename=PurePosixPath(artifact.relative_path).name,
            file_type=artifact.content_type,
        )
        try:
            return http.upload(
                action,
                f"/api/v1/tasks/{segment(task_id)}/artifacts",
                body,
                content_type=body.content_type,
                key=key,
                timeout_s=timeout_s,
            )
        except errors.ApiRefused as exc:
            if exc.status != 413:
                raise
            raise errors.ApiRefused(
                f"{action} failed: {artifact.size} bytes are too large for this server",
                status=413,
                advice="The file stays in the artifacts directory",
            ) from exc


@contextmanager
def _opened(artifact: ArtifactFile) -> Iterator[BinaryIO]:
    try:
        # The copy lies where the script could put something else in its place: a pipe, a link.
        file = os.fdopen(os.open(artifact.file, _FLAGS), "rb")
    except FileNotFoundError as exc:
        raise errors.NotFound(f"The artifact {artifact.file} is gone") from exc
    except OSError as exc:
        raise errors.AgentStateError(
            f"The artifact {artifact.file} cannot be read ({exc.strerror})"
        ) from exc
    with file:
        status = os.fstat(file.fileno())
        size = status.st_size
        if not stat.S_ISREG(status.st_mode):
            raise errors.NotFound(f"The artifact {artifact.file} is no file any more")
        if size != artifact.size:
            raise errors.AgentStateError(
                f"The artifact {artifact.file} changed from {artifact.size} to {size} bytes "
                "since it was recorded"
            )
        # Later tasks can write into the copy; not every server compares the hash that it is sent.
        if hashlib.file_digest(file, "sha256").hexdigest() != artifact.sha256:
            raise errors.AgentStateError(
                f"The artifact {artifact.file} was changed since it was recorded"
            )
        file.seek(0)
        yield file
