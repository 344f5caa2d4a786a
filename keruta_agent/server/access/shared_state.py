"""What all processes of one database share: the key of forms, and a count of changes of access.

The count makes a copy of tokens and logins cheap to hold: one row says whether it is still right.
"""

from __future__ import annotations

import secrets
from typing import Final

from keruta_agent.server.store.database import Database
from keruta_agent.server.store.statements import statement

_KEY: Final = "pages.key"
_KEY_BYTES: Final = 32

_MAKE_KEY: Final = statement(
    "INSERT INTO server_state (name, number, text) VALUES (?, 0, ?) ON CONFLICT DO NOTHING"
)
_READ_KEY: Final = statement("SELECT text FROM server_state WHERE name = ?")
_COUNT: Final = statement("SELECT number FROM server_state WHERE name = 'access'")
_CHANGED: Final = statement("UPDATE server_state SET number = number + 1 WHERE name = 'access'")


def form_key(database: Database) -> bytes:
    """Return the key that signs cookies and forms; the first process makes it."""
    with database.connected(), database.transaction():
        database.run(_MAKE_KEY, _KEY, secrets.token_hex(_KEY_BYTES))
        return bytes.fromhex(database.run(_READ_KEY, _KEY).fetchone()[0])


def changes(database: Database) -> int:
    """Return how often tokens and logins have changed."""
    return int(database.run(_COUNT).fetchone()[0])


def note_change(database: Database) -> None:
    """Have all processes read tokens and logins anew; in the transaction that changed them."""
    database.run(_CHANGED)
