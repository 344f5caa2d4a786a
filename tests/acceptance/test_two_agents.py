"""Two agents of one session, each in a base directory of its own."""

from __future__ import annotations

from pathlib import Path

from tests.helpers.api import Api
from tests.helpers.processes import Workplace
from tests.helpers.waiting import wait_until


def test_standby_takes_over_what_is_pending_and_never_what_is_claimed(
    workplace: Workplace, api: Api, tmp_path: Path
) -> None:
    lease = {"KERUTA_SESSION_LEASE": "2s"}
    trace = f'echo "$KERUTA_TASK_ID" >> {tmp_path}/runs'
    claimed = api.file_task(f"{trace}; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done")
    first = workplace.daemon(**lease)
    api.wait_for(claimed, "PROCESSING")
    second = workplace.daemon(**lease, KERUTA_BASE_DIR=str(tmp_path / "second"))
    second.wait_for("another agent serves the session")
    pending = api.file_task(trace)
    said = workplace.run("status", KERUTA_BASE_DIR=str(tmp_path / "second")).stdout
    assert "another agent serves the session" in said
    assert "Stop this agent or the other one; this one takes over when that is silent" in said

    first.kill()
    second.wait_for("takes over the session")
    assert api.wait_for(pending)["status"] == "COMPLETED"
    assert api.task(claimed)["status"] == "PROCESSING"

    workplace.daemon(**lease)
    (tmp_path / "go").touch()
    assert api.wait_for(claimed)["status"] == "COMPLETED", "its own agent reports it, late"
    runs = (tmp_path / "runs").read_text(encoding="ascii").split()
    assert sorted(runs) == sorted([claimed, pending])


def test_standby_takes_over_at_once_when_the_active_one_is_stopped(
    workplace: Workplace, api: Api, tmp_path: Path
) -> None:
    first = workplace.daemon(KERUTA_SESSION_LEASE="1h")
    second = workplace.daemon(KERUTA_SESSION_LEASE="6s", KERUTA_BASE_DIR=str(tmp_path / "second"))
    second.wait_for("another agent serves the session")

    assert first.stop() == 0

    second.wait_for("takes over the session")
    assert api.wait_for(api.file_task("true"))["status"] == "COMPLETED"


def test_agent_that_was_killed_goes_on_at_once(workplace: Workplace, api: Api) -> None:
    first = workplace.daemon(KERUTA_SESSION_LEASE="1h")
    assert api.wait_for(api.file_task("true"))["status"] == "COMPLETED"
    first.kill()
    workplace.daemon(KERUTA_SESSION_LEASE="1h")
    assert api.wait_for(api.file_task("true"))["status"] == "COMPLETED"
    assert wait_until(lambda: workplace.run("status").stdout, "it answers").count("another") == 0
