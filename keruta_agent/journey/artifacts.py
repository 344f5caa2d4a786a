"""Files as artifacts: which are taken, what describes them, how they wait in the outbox."""

from __future__ import annotations

import dataclasses
import errno
import hashlib
import logging
import mimetypes
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from keruta_agent.model import ArtifactFile
from keruta_agent.settings.schema import Settings
from keruta_agent.settings.units import format_size

logger = logging.getLogger(__name__)


def artifacts_in(settings: Settings, directory: Path) -> list[ArtifactFile]:
    """Returns the files below a directory as artifacts, where they are.

    Raises:
        OSError: one cannot be read.
    """
    return [_described(path, name) for name, path in wanted_files(settings, directory)]


def to_payload(artifact: ArtifactFile) -> dict[str, Any]:
    """Returns the stored form of an artifact that is to be sent."""
    return {**dataclasses.asdict(artifact), "file": str(artifact.file)}


def from_payload(payload: Mapping[str, Any]) -> ArtifactFile:
    """Reads the stored form."""
    return ArtifactFile(**{**payload, "file": Path(payload["file"])})


def files_below(root: Path) -> Iterator[tuple[str, Path]]:
    """Yields the regular files below a directory; links are not followed, they may lead out."""
    for folder, directories, names in os.walk(root):
        directories.sort()
        for name in sorted(names):
            path = Path(folder) / name
            if path.is_file() and not path.is_symlink():
                yield path.relative_to(root).as_posix(), path


def fingerprint(path: Path) -> list[int]:
    try:
        status = path.stat()
    except FileNotFoundError:
        return []
    return [status.st_size, status.st_mtime_ns, status.st_ino]


def wanted_files(settings: Settings, root: Path) -> Iterator[tuple[str, Path]]:
    extensions = settings.artifacts_extensions
    for name, path in files_below(root):
        if extensions and not name.lower().endswith(extensions):
            continue
        size, limit = path.stat().st_size, settings.artifacts_max_size
        if size <= limit:
            yield name, path
            continue
        logger.warning(
            "the artifact %s is too large: %s, the limit is %s; set KERUTA_MAX_FILE_SIZE",
            name,
            format_size(size),
            format_size(limit),
            extra={"action": "artifact_too_large"},
        )


def copy_of(path: Path, name: str, copies: Path) -> ArtifactFile:
    """Copies a file; what is hashed and sent is the copy, which nobody changes any more."""
    target = copies / name
    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        shutil.copyfile(path, target)
    except OSError as exc:
        target.unlink(missing_ok=True)
        if exc.errno != errno.ENOSPC:
            raise
        # No room for a copy: it is sent from where it is, as long as nobody changes it there.
        return _described(path, name)
    return _described(target, name)


def _described(path: Path, name: str) -> ArtifactFile:
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
    return ArtifactFile(
        file=path,
        relative_path=name,
        size=path.stat().st_size,
        sha256=digest.hexdigest(),
        content_type=mimetypes.guess_type(name)[0] or "application/octet-stream",
    )
