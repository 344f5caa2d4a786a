"""A damaged database is told at the daemon's HTTP API with what to do, and costs no traceback."""

from __future__ import annotations

from pathlib import Path

import pytest

from keruta_agent.agent.store.jobs import Work
from tests.helpers.agent_http import AgentCaller, agent_application
from tests.helpers.agents import agent_in

PAGES = 60
PAGE_BYTES = 4096


def test_damaged_page_is_reported_with_advice(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with agent_in(tmp_path) as agent:
        for number in range(100):
            agent.records.jobs.record_script(f"job {number}", Work(script="#" * 3000))
        agent.records.database.connection().execute("PRAGMA wal_checkpoint(TRUNCATE)")
    with (tmp_path / "base" / "agent.db").open("r+b") as file:  # its last pages hold the jobs
        file.seek(-PAGES * PAGE_BYTES, 2)
        file.write(b"\xff" * PAGES * PAGE_BYTES)
    with agent_in(tmp_path) as agent, agent_application(agent) as app:
        response = AgentCaller(app).call("GET", "/jobs?limit=100")

        assert (response.status_code, response.json()["error"]["code"]) == (503, "STORAGE_DAMAGED")
        assert [record.exc_info for record in caplog.records if record.exc_info] == []
