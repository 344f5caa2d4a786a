"""What a script may tell the agent: a log line, its progress, an artifact, its end.

A message is one JSON object on one line of the run directory's file ``agent``. The daemon's
socket appends it there; a command that finds no daemon appends it itself, so that a script never
fails because the daemon is being restarted.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from keruta_agent.agent.run.files import from_json
from keruta_agent.core.model import LogLevel, TaskStatus, parse_log_level

#: Bytes of one message: an append of this size cannot be torn by another one.
LONGEST_MESSAGE: Final = 32 * 1024
#: Bytes at the end of a run's messages in which one that was just stored must be.
RECENT_BYTES: Final = 8 * LONGEST_MESSAGE
_SHA256: Final = re.compile(r"[0-9a-f]{64}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class LogMessage:
    """``keruta log``: a line for the task's log."""

    level: LogLevel
    message: str
    fields: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProgressMessage:
    """``keruta progress``: how far the script is."""

    percent: int
    message: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class EndMessage:
    """``keruta success`` and ``keruta fail``: how the script says that it ends."""

    status: TaskStatus
    message: str
    error_code: str
    auto_fix: bool | None
    artifacts_dir: str | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class ArtifactMessage:
    """``keruta artifact add``: a file that the command has copied into the run directory."""

    #: Name of the copy.
    file: str
    #: Relative path under which it is to be stored.
    path: str
    description: str
    #: Bytes.
    size: int
    sha256: str


Message = LogMessage | ProgressMessage | EndMessage | ArtifactMessage
#: Kind of a message that names a secret. It is stored apart (``RunDirectory.add_secret``).
MASK: Final = "mask"


def parse(line: str) -> Message:
    """Read one message.

    Raises:
        ValueError: it is invalid; the text says what is allowed.
    """
    values = from_json(line)
    if not isinstance(values, dict):
        raise ValueError("a message is a JSON object")
    _refuse_half_characters(values)
    kind = values.get("kind")
    if kind == "log":
        fields = values.get("fields") or {}
        if not isinstance(fields, dict):
            raise ValueError("fields must be an object")
        return LogMessage(
            level=parse_log_level(str(values.get("level", ""))),
            message=str(values.get("message", "")),
            fields=fields,
        )
    if kind == "progress":
        percent = values.get("percent")
        if type(percent) is not int or not 0 <= percent <= 100:
            raise ValueError("percent must be a whole number from 0 to 100")
        return ProgressMessage(percent=percent, message=str(values.get("message", "")))
    if kind == "artifact":
        return _artifact(values)
    if kind == "end":
        return _end(values)
    raise ValueError(f"unknown kind of message: {kind}")


def _refuse_half_characters(values: Mapping[str, Any]) -> None:
    """Refuse what JSON can write and no text holds: half of a surrogate pair.

    Raises:
        ValueError: there is some.
    """
    try:
        json.dumps(values, ensure_ascii=False).encode("utf-8")
    except (UnicodeEncodeError, RecursionError):
        raise ValueError("a message is text") from None


def _artifact(values: Mapping[str, Any]) -> ArtifactMessage:
    file, path, size = str(values.get("file", "")), str(values.get("path", "")), values.get("size")
    sha256 = str(values.get("sha256", ""))
    if not file or "/" in file or file in (".", "..") or "\0" in file:
        raise ValueError("file must be the name of a copy in the run directory")
    if not path or path.startswith("/") or ".." in path.split("/"):
        raise ValueError("the path of an artifact is relative and without '..'")
    if type(size) is not int or size < 0 or not _SHA256.fullmatch(sha256):
        raise ValueError("an artifact has a size and a SHA-256")
    return ArtifactMessage(
        file=file,
        path=path,
        description=str(values.get("description", "")),
        size=size,
        sha256=sha256,
    )


def _end(values: Mapping[str, Any]) -> EndMessage:
    status = TaskStatus(str(values.get("status", "")))
    if status not in (TaskStatus.COMPLETED, TaskStatus.FAILED):
        raise ValueError(f"a script ends COMPLETED or FAILED, not {status}")
    auto_fix, artifacts_dir = values.get("auto_fix"), values.get("artifacts_dir")
    return EndMessage(
        status=status,
        message=str(values.get("message", "")),
        error_code=str(values.get("error_code", "")),
        auto_fix=auto_fix if isinstance(auto_fix, bool) else None,
        artifacts_dir=artifacts_dir if isinstance(artifacts_dir, str) else None,
    )


def append(agent_file: Path, line: str, *, identity: str = "") -> None:
    """Add one message to a run's file, unless one of this identity is there already.

    A command that waited too long for our answer has left the message there by itself.

    Raises:
        ValueError: the message is too long.
        OSError: the run is over, or the file cannot be written.
    """
    data = line.strip().encode("utf-8", errors="replace") + b"\n"
    if len(data) > LONGEST_MESSAGE:
        raise ValueError(f"a message may hold {LONGEST_MESSAGE} bytes, this one has {len(data)}")
    descriptor = os.open(agent_file, os.O_RDWR | os.O_APPEND | os.O_CLOEXEC | os.O_NOFOLLOW)
    try:
        start = max(0, os.fstat(descriptor).st_size - RECENT_BYTES)
        mark = f'"id": {json.dumps(identity)}'.encode()
        if not identity or mark not in os.pread(descriptor, RECENT_BYTES, start):
            os.write(descriptor, data)
    finally:
        os.close(descriptor)
