"""The choice of the store that artifacts are kept in, and its first sweep."""

from __future__ import annotations

import logging
import uuid
from typing import Final

from keruta_agent.core import errors
from keruta_agent.server.store.artifacts.location import ArtifactLocation
from keruta_agent.server.store.artifacts.store import ArtifactStore, ArtifactStoreError, FileStore
from keruta_agent.server.store.data_directory import DataDirectory
from keruta_agent.server.store.database import Database
from keruta_agent.server.store.statements import statement
from keruta_agent.server.store.tables import Tables

logger = logging.getLogger(__name__)

#: Of the database, beside what else all its servers share. The first one makes it.
_MAKE_IDENTITY: Final = statement(
    "INSERT INTO server_state (name, number, text) VALUES ('identity', 0, ?) ON CONFLICT DO NOTHING"
)
_READ_IDENTITY: Final = statement("SELECT text FROM server_state WHERE name = 'identity'")


def open_store(
    location: ArtifactLocation | None,
    directory: DataDirectory,
    database: Database,
    tables: Tables,
) -> ArtifactStore:
    """Return the store at a location, or in the directory; remove what a killed server left.

    Raises:
        AgentStateError: it refuses what it is asked, or the directory cannot be used.
        SettingsError: its settings are invalid.
    """
    directory.sweep_uploads()
    known = (tables.artifacts, tables.runner_artifacts)
    if location is None:
        directory.sweep(database, *known)
        return FileStore(directory)
    # Neither they nor the library behind them are needed by whoever keeps files.
    from keruta_agent.server.store.artifacts.object_store import ObjectStore
    from keruta_agent.server.store.artifacts.objects import Objects, StoreRefusesError
    from keruta_agent.server.store.artifacts.sweeper import Sweeper

    objects = Objects(location)
    sweeper = Sweeper(objects, database, *known, identity=_identity(directory, database))
    try:
        sweeper.owner()
    except StoreRefusesError as exc:
        raise errors.AgentStateError(
            str(exc), advice="Check bucket, region and keys: the variables AWS_..., for S3"
        ) from None
    except ArtifactStoreError as exc:
        # It may come back. Until then uploads are refused, and the server is not ready.
        logger.error("%s", exc, extra={"action": "server_storage_failed"})
    sweeper.start()
    return ObjectStore(objects, sweeper, incoming=directory.incoming)


def _identity(directory: DataDirectory, database: Database) -> str:
    """Return what a database is known by: a file by its directory, for a copy is another one."""
    if not database.postgresql:
        return directory.identity
    with database.connected(), database.transaction():
        database.run(_MAKE_IDENTITY, str(uuid.uuid4()))
        identity: str = database.run(_READ_IDENTITY).fetchone()[0]
    return identity
