"""Check of the queue: whether what waits gets its turn, and whether the API hears of what ended."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator

from keruta_agent.agent.checkup.finding import Finding, ok, problem, warning
from keruta_agent.agent.checkup.state import check_outbox, open_for_reading
from keruta_agent.agent.store.sqlite.database import DATABASE_NAME
from keruta_agent.core.settings.schema import Settings
from keruta_agent.core.units import format_duration


def check_queue(settings: Settings) -> Iterator[Finding]:
    """Yield what is found in the agent's database; needs no daemon and changes nothing."""
    path = settings.base_dir / DATABASE_NAME
    try:
        if not path.exists():
            yield ok("queue", f"empty: no agent has run in {settings.base_dir} yet")
            return
        connection = open_for_reading(path)
        try:
            yield _waiting(connection, settings)
            yield check_outbox(connection, settings.health_outbox_age_max_s)
        finally:
            connection.close()
    except (OSError, sqlite3.Error) as exc:
        yield problem("queue", f"{path} cannot be read: {exc}", "See: keruta doctor")


def _waiting(connection: sqlite3.Connection, settings: Settings) -> Finding:
    number, oldest = connection.execute(
        "SELECT count(*), min(recorded_at) FROM jobs WHERE state = 'waiting'"
    ).fetchone()
    running, last_end = connection.execute(
        "SELECT coalesce(sum(state <> 'ended'), 0), max(ended_at) FROM runs"
    ).fetchone()
    paused = connection.execute("SELECT value FROM flags WHERE name = 'paused'").fetchone()
    text = f"{number} waiting, {running or 'nothing'} running"
    if paused is not None and number:
        return warning("queue", f"{text}; paused: {paused[0]}", "Go on with: keruta queue resume")
    if not number or running:
        return ok("queue", text)
    # Before the last run's end they waited for their turn; since then, for an agent.
    idle_s = max(0.0, time.time() - max(oldest, last_end or 0.0))
    text += f", the first could run since {format_duration(round(idle_s))}"
    if idle_s > settings.health_queue_age_max_s:
        return problem("queue", text, "Check that a daemon runs: keruta status")
    return ok("queue", text)
