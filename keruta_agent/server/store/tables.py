"""The tables as the queries see them; ``migrations.py`` says how they come into being.

Plain tables instead of models: a model class is bound to one database for the whole process, and
tests run several servers in one. Dates are microseconds since 1970 and JSON is text, so that
SQLite and PostgreSQL hold the same.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import peewee

if TYPE_CHECKING:
    from keruta_agent.server.store.database import Database

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FIRST = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
_LAST = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND

#: Of each table, in their order.
COLUMNS: Final[Mapping[str, tuple[str, ...]]] = {
    "sessions": (
        "number",
        "id",
        "id_folded",
        "name",
        "name_folded",
        "description",
        "status",
        "tags",
        "workspace_id",
        "repository_url",
        "repository_ref",
        "template_config",
        "created_at",
        "updated_at",
        "ended_at",
        "pinned",
    ),
    "tasks": (
        "number",
        "id",
        "session_id",
        "parent_task_id",
        "name",
        "description",
        "script",
        "status",
        "message",
        "progress",
        "error_code",
        "priority",
        "parameters",
        "fix_root",
        "created_at",
        "updated_at",
        "started_at",
        "ended_at",
        "claimed_by",
        "claimed_run",
        "claimed_at",
        "fix_request",
        "fix_made",
        "log_kept",
        "log_pruned_at",
        "artifacts_pruned_at",
    ),
    "log_entries": ("number", "task", "level", "source", "message", "metadata", "logged_at"),
    "artifacts": (
        "number",
        "id",
        "task",
        "name",
        "path",
        "description",
        "content_type",
        "size",
        "sha256",
        "created_at",
    ),
    "input_requests": (
        "number",
        "task",
        "prompt",
        "answer",
        "created_at",
        "answered_at",
        "delivered_at",
        "secret",
    ),
    "agents": (
        "number",
        "id",
        "instance",
        "session_id",
        "role",
        "host",
        "version",
        "lease",
        "registered_at",
        "seen_at",
    ),
    "metrics": ("number", "task", "data", "created_at"),
    "events": ("number", "session_id", "name", "data", "created_at"),
    "answers": ("scope", "key", "status", "body", "created_at"),
    "schema_migrations": ("name", "applied_at"),
    "registry_tasks": (
        "number",
        "spec_name",
        "id",
        "status",
        "metadata",
        "created_at",
        "updated_at",
    ),
    "registry_statuses": ("number", "task", "status", "metadata", "said_at", "at"),
    "registry_events": ("number", "task", "event_type", "data", "said_at", "at"),
    "registry_artifacts": (
        "number",
        "task",
        "type",
        "uri",
        "size_bytes",
        "metadata",
        "said_at",
        "at",
    ),
    "pool_slots": (
        "number",
        "pool",
        "id",
        "repository",
        "address",
        "state",
        "holder",
        "lease_token",
        "released_token",
        "key",
        "lease_s",
        "changed_at",
    ),
    "runner_artifacts": (
        "number",
        "id",
        "type",
        "metadata",
        "spec_name",
        "task_id",
        "size",
        "sha256",
        "created_at",
    ),
    "server_state": ("name", "number", "text"),
    "logins": ("digest", "token", "ends_at"),
    "tokens": (
        "number",
        "id",
        "name",
        "digest",
        "role",
        "scope_kind",
        "scope",
        "created_at",
        "expires_at",
        "used_at",
        "revoked_at",
    ),
    "audit": (
        "number",
        "at",
        "token",
        "role",
        "address",
        "method",
        "path",
        "target",
        "status",
        "detail",
    ),
    "coding_tasks": (
        "number",
        "id",
        "name",
        "context",
        "priority",
        "state",
        "attempt",
        "attempts_left",
        "worker",
        "lease_until",
        "due_at",
        "announced_at",
        "cancel_reason",
        "error",
        "created_at",
        "started_at",
        "ended_at",
    ),
    "coding_attempts": (
        "number",
        "task",
        "attempt",
        "worker",
        "outcome",
        "error",
        "result",
        "started_at",
        "ended_at",
    ),
    "coding_workers": (
        "number",
        "id",
        "host",
        "version",
        "concurrency",
        "is_draining",
        "registered_at",
        "seen_at",
    ),
    "coding_pool": ("number", "paused", "changed_at"),
}


class Tables:
    """The tables of one database, ready to be queried."""

    def __init__(self, database: Database) -> None:
        #: For statements whose text is constant.
        self.database = database
        of = functools.partial(_table, database.peewee)
        self.sessions = of("sessions")
        self.tasks = of("tasks")
        self.log_entries = of("log_entries")
        self.artifacts = of("artifacts")
        self.input_requests = of("input_requests")
        self.agents = of("agents")
        self.metrics = of("metrics")
        self.events = of("events")
        self.answers = of("answers")
        self.schema_migrations = of("schema_migrations")
        self.registry_tasks = of("registry_tasks")
        self.registry_statuses = of("registry_statuses")
        self.registry_events = of("registry_events")
        self.registry_artifacts = of("registry_artifacts")
        self.pool_slots = of("pool_slots")
        self.runner_artifacts = of("runner_artifacts")
        self.coding_tasks = of("coding_tasks")
        self.coding_attempts = of("coding_attempts")
        self.coding_workers = of("coding_workers")
        self.coding_pool = of("coding_pool")


def _table(database: Any, name: str) -> Any:
    columns = COLUMNS[name]
    key = "number" if "number" in columns else None
    return peewee.Table(name, columns, primary_key=key).bind(database)


def now() -> int:
    """Return the present as it is stored."""
    return to_microseconds(datetime.now(UTC))


def to_microseconds(moment: datetime) -> int:
    """Return a date as it is stored.

    Raises:
        OverflowError: its zone carries it before the year 1 or after 9999.
    """
    microseconds = (moment - _EPOCH) // _MICROSECOND
    if not _FIRST <= microseconds <= _LAST:
        raise OverflowError(f"{moment} is out of range")
    return microseconds


def from_microseconds(microseconds: int) -> datetime:
    """Return a stored date."""
    return _EPOCH + timedelta(microseconds=microseconds)


def date(microseconds: int | None) -> str | None:
    """Return a stored date as it is sent: as ``wire.format_date`` writes it, in half the time."""
    if microseconds is None:
        return None
    return from_microseconds(microseconds).isoformat().removesuffix("+00:00") + "Z"


def from_json(text: str | None) -> Any:
    """Return a stored JSON value; None where there is none."""
    return None if text is None else json.loads(text)
