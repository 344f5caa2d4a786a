"""The factory of the applications of all servers here: OpenAPI document, access, failures."""

from __future__ import annotations

import sqlite3
from typing import Any

import peewee

from keruta_agent.http.application import Application, Hooks
from keruta_agent.http.failures import Failures
from keruta_agent.http.openapi import Document
from keruta_agent.server.access.admission import Access
from keruta_agent.server.routes import Context

_FAILURES = Failures(
    storage=(peewee.OperationalError, peewee.InterfaceError, sqlite3.OperationalError, OSError),
    damages=(peewee.DatabaseError, sqlite3.DatabaseError),
    when_damaged="Stop the server, then restore its database from a copy, or save what can be "
    "read with: sqlite3 DATABASE .recover",
)


def new_application(
    context: Context, access: Access, *, title: str, **document: Any
) -> Application:
    """Return an application without routes that serves a store to whom ``access`` lets in."""
    # Without a token set, the server asks for none.
    described = Document(title, security=[{"bearer": []}, {}], **document)
    hooks = Hooks(
        admit=access.check,
        look_up=access.look_up,
        may_listen=access.may_listen,
        authorize=access.authorize,
        refused=access.refused,
        failures=_FAILURES,
        begin_thread=context.store.database.keep_connection,
    )
    return Application(context, described, hooks)
