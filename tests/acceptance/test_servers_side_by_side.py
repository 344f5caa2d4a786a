"""Several servers as real processes on one real PostgreSQL."""

from __future__ import annotations

from keruta_agent.server.store import migrations
from tests.helpers.postgresql import PostgresqlServer
from tests.helpers.processes import Workplace

#: Processes that start at once.
_TOGETHER = 8


def test_database_is_migrated_once_however_many_servers_start_together(
    workplace: Workplace, postgresql_url: str, postgresql_server: PostgresqlServer
) -> None:
    started = [
        workplace.start(
            *("server", "--port", "0", "--data", str(workplace.path / f"data-{index}")),
            KERUTA_SERVER_DATABASE_URL=postgresql_url,
        )
        for index in range(_TOGETHER)
    ]
    for process in started:
        process.listening()
    database = postgresql_url.rpartition("/")[2]
    applied = postgresql_server.execute("SELECT name FROM schema_migrations", database)
    assert sorted(name for (name,) in applied) == sorted(
        step.name for step in migrations.MIGRATIONS
    )
