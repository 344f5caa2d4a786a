"""What routes need of the store behind them, so that several kinds of store can have routes."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, Protocol

from keruta_agent.server.store.database import Database


class StoreProtocol(Protocol):
    """A store."""

    database: Database
    #: Among them ``answers``, by which repeated writes are known.
    tables: Any

    def writing(self) -> AbstractContextManager[Any]:
        """Make the block one write (a transaction), and hand it to the view."""
