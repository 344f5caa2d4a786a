"""What is said in a backup of itself: who wrote it, and what is in it."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from keruta_agent import __version__
from keruta_agent.core import bounded_json, migrations
from keruta_agent.server.backup import archive
from keruta_agent.server.store.schema.migrations import refuse_newer

#: What no backup holds, in the words of the command.
NOT_INCLUDED: Final = (
    "answers to secret questions that nobody has fetched yet",
    "logins to the pages",
    "the clones that the pool lends",
    "the server's options, tokens given by option or variable, and certificates",
)

#: Artifacts that are named of those that are damaged.
MOST_NAMED: Final = 100


@dataclasses.dataclass(kw_only=True)
class Contents:
    """What is in a backup."""

    created_at: str
    #: By the database's name in the archive: rows of each table.
    databases: dict[str, dict[str, int]] = dataclasses.field(default_factory=dict)
    with_artifacts: bool = True
    artifacts: int = 0
    artifact_bytes: int = 0
    #: Artifacts that were deleted while the backup was made.
    deleted_meanwhile: int = 0
    #: Artifacts whose files are missing or differ from what the database knows of them.
    damaged: int = 0
    damaged_names: list[str] = dataclasses.field(default_factory=list)

    def note_damaged(self, name: str) -> None:
        """Count an artifact in, and name it if there are not too many."""
        self.damaged += 1
        if len(self.damaged_names) < MOST_NAMED:
            self.damaged_names.append(name)

    def to_json(self) -> dict[str, Any]:
        """Return it for programs."""
        return {
            "createdAt": self.created_at,
            "databases": self.databases,
            "withArtifacts": self.with_artifacts,
            "artifacts": self.artifacts,
            "artifactBytes": self.artifact_bytes,
            "deletedMeanwhile": self.deleted_meanwhile,
            "damaged": self.damaged,
            "damagedNames": self.damaged_names,
        }

    def to_text(self) -> str:
        """Return it as it stands in the archive."""
        return json.dumps(self.to_json(), indent=1)

    @classmethod
    def read(cls, text: str) -> Contents:
        """Return what a text says.

        Raises:
            ValueError: it is none.
        """
        found = bounded_json.loads(text)
        try:
            return cls(
                created_at=str(found["createdAt"]),
                databases={
                    str(name): {str(table): int(rows) for table, rows in counts.items()}
                    for name, counts in found["databases"].items()
                },
                with_artifacts=bool(found["withArtifacts"]),
                artifacts=int(found["artifacts"]),
                artifact_bytes=int(found["artifactBytes"]),
                deleted_meanwhile=int(found["deletedMeanwhile"]),
                damaged=int(found["damaged"]),
                damaged_names=[str(name) for name in found["damagedNames"]],
            )
        except (KeyError, TypeError, AttributeError) as exc:
            raise ValueError(f"{archive.CONTENTS} cannot be understood: {exc!r}") from None


def now() -> str:
    """Return the time for people and programs."""
    return datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def header(created_at: str, schemas: Mapping[str, list[str]]) -> str:
    """Return the first member: who wrote the backup, and what its databases note of schemas."""
    return json.dumps(
        {
            "format": archive.FORMAT,
            "version": __version__,
            "createdAt": created_at,
            "schemas": dict(schemas),
        }
    )


def check_header(text: str, path: Path) -> None:
    """Refuse a backup that this version cannot restore.

    Raises:
        AgentStateError: a newer version wrote it.
        ValueError: it is none.
    """
    found = bounded_json.loads(text)
    try:
        written_by, number = str(found["version"]), int(found["format"])
        schemas = [[str(note) for note in notes] for notes in found["schemas"].values()]
    except (KeyError, TypeError, AttributeError) as exc:
        raise ValueError(f"{archive.HEADER} cannot be understood: {exc!r}") from None
    if number > archive.FORMAT:
        raise migrations.newer_schema(
            f"the backup {path}", written_by, otherwise="restore one of before the upgrade"
        )
    for notes in schemas:
        refuse_newer_schema(notes, path)


def refuse_newer_schema(notes: list[str], path: Path) -> None:
    """Refuse a backup whose database is newer than this program.

    Raises:
        AgentStateError: it is.
    """
    refuse_newer(notes, f"the backup {path}")
