"""The artifacts of agent.db: what was taken of each task's files, and what became of it.

An artifact stays recorded here, also when it was sent and its row in the outbox is gone: so that
what did not change is not sent twice, and people can see what stays on this machine and why.
"""

from __future__ import annotations

import dataclasses
import enum
import os
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from keruta_agent.agent.store.jobs import Job
from keruta_agent.agent.store.outbox import Kind, Outbox
from keruta_agent.agent.store.run import Run
from keruta_agent.agent.store.sqlite.database import Database
from keruta_agent.core.model import ArtifactFile

#: Why an artifact of an ad-hoc job is not sent.
NO_TASK = "the job is no task of the API"


class ArtifactState(enum.StrEnum):
    """What became of an artifact."""

    WAITING = "waiting"
    SENT = "sent"
    #: The API cannot store it; it is kept on this machine.
    LOCAL = "stays here"
    #: The API refuses this very file.
    REFUSED = "refused"
    #: A person or a script removed it.
    REMOVED = "removed"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Artifact:
    """A file that belongs to a task or an ad-hoc job."""

    id: int
    task_id: str | None
    job_id: int | None
    run_id: int | None
    #: Relative path, as the API gets it.
    path: str
    #: Where it lies on this machine.
    file: str
    #: Whether that is a copy by the agent, removed when it is not needed any more.
    is_copy: bool
    #: Bytes.
    size: int
    sha256: str
    content_type: str
    description: str
    state: ArtifactState
    #: Why it stays here, or was refused.
    reason: str
    #: Unix time.
    added_at: float


@dataclasses.dataclass(frozen=True, kw_only=True)
class Owner:
    """Whose artifacts are meant: a task's, or those of a job that is no task."""

    task_id: str | None
    job_id: int | None = None
    run_id: int | None = None

    @classmethod
    def of_run(cls, job: Job, run: Run) -> Self:
        """Return whose the artifacts of a run are."""
        return cls(task_id=job.task_id, job_id=job.id, run_id=run.id)


def named(artifacts: Sequence[Artifact], names: Sequence[str]) -> Artifact | None:
    """Return the newest artifact with one of these paths, else the one with this file name."""
    there = [each for each in artifacts if each.state is not ArtifactState.REMOVED]
    for name in names:
        for artifact in reversed(there):
            if artifact.path == name:
                return artifact
    alike = {each.path: each for each in there if each.path.rpartition("/")[2] in names}
    return next(iter(alike.values())) if len(alike) == 1 else None


_FIELDS = tuple(field.name for field in dataclasses.fields(Artifact))
_COLUMNS = ", ".join(_FIELDS)
_OWNED = "(task_id = ? OR (task_id IS NULL AND job_id = ?))"


class Artifacts:
    """The artifacts of agent.db."""

    def __init__(self, database: Database, outbox: Outbox) -> None:
        self._database = database
        self._outbox = outbox

    def add(self, owner: Owner, file: ArtifactFile, *, key: str, is_copy: bool) -> None:
        """Store an artifact and queue it for the API, in one transaction.

        One with a key that is known is dropped. What belongs to no task stays on this machine.
        """
        state = ArtifactState.LOCAL if owner.task_id is None else ArtifactState.WAITING
        with self._database.transaction() as connection:
            connection.execute(
                "INSERT INTO artifacts (task_id, job_id, run_id, path, file, is_copy, size, "
                "sha256, content_type, description, state, reason, key, added_at) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO NOTHING",
                (
                    owner.task_id,
                    owner.job_id,
                    owner.run_id,
                    file.relative_path,
                    os.fsencode(file.file),  # bytes: a name need not be text
                    is_copy,
                    file.size,
                    file.sha256,
                    file.content_type,
                    file.description,
                    state.value,
                    NO_TASK if owner.task_id is None else "",
                    key,
                    time.time(),
                ),
            )
            if owner.task_id is not None:
                payload = {**dataclasses.asdict(file), "file": str(file.file)}
                self._outbox.add(
                    Kind.ARTIFACT, owner.task_id, payload, run_id=owner.run_id, key=key
                )

    def settle(self, key: str, state: ArtifactState, reason: str = "") -> Artifact | None:
        """Store what became of an artifact and return it; None when the key is none of one.

        One that was removed while it was on its way stays removed.
        """
        with self._database.transaction() as connection:
            connection.execute(
                "UPDATE artifacts SET state = ?, reason = ? WHERE key = ? AND state <> 'removed'",
                (state.value, reason, key),
            )
        return self._one("key = ?", key)

    def remove(self, artifact: Artifact) -> ArtifactState | None:
        """Take an artifact back and return the state in which it was found.

        One that waits is not sent any more. None means that it is on its way just now, so that
        the API may get it.
        """
        with self._database.transaction() as connection:
            row = connection.execute(
                "SELECT key, state FROM artifacts WHERE id = ?", (artifact.id,)
            ).fetchone()
            connection.execute(
                "UPDATE artifacts SET state = 'removed' WHERE id = ?", (artifact.id,)
            )
            entry = self._outbox.entry_of(row["key"])
            is_on_its_way = (
                entry is not None and entry.state == "pending" and entry.batch is not None
            )
            if not is_on_its_way:
                self._outbox.remove(row["key"])
        if is_on_its_way:
            return None
        if artifact.is_copy:
            Path(artifact.file).unlink(missing_ok=True)
        return ArtifactState(row["state"])

    def of(self, owner: Owner) -> list[Artifact]:
        """Return what belongs to a task or job, oldest first."""
        rows = self._database.connection().execute(
            f"SELECT {_COLUMNS} FROM artifacts WHERE {_OWNED} ORDER BY id",  # noqa: S608
            (owner.task_id, owner.job_id),
        )
        return [_artifact(row) for row in rows]

    def known(self, owner: Owner, path: str, sha256: str) -> Artifact | None:
        """Return the newest artifact with this path, if it has this very content."""
        found = self._one(
            f"{_OWNED} AND path = ? ORDER BY id DESC LIMIT 1", owner.task_id, owner.job_id, path
        )
        return found if found is not None and found.sha256 == sha256 else None

    def by_key(self, key: str) -> Artifact | None:
        """Return an artifact by the key under which it was stored."""
        return self._one("key = ?", key)

    def _one(self, condition: str, *parameters: object) -> Artifact | None:
        row = (
            self._database.connection()
            .execute(
                f"SELECT {_COLUMNS} FROM artifacts WHERE {condition}",  # noqa: S608
                parameters,
            )
            .fetchone()
        )
        return None if row is None else _artifact(row)


def _artifact(row: sqlite3.Row) -> Artifact:
    values = {name: row[name] for name in _FIELDS}
    values["file"] = os.fsdecode(values["file"])
    values["is_copy"] = bool(values["is_copy"])
    values["state"] = ArtifactState(values["state"])
    return Artifact(**values)
