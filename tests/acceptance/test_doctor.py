"""``keruta doctor`` names what keeps the agent from its work, and touches nothing."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.api import Api
from tests.helpers.processes import Workplace
from tests.helpers.waiting import wait_until

EVERYTHING = "progress, metrics, auto-fix, artifacts, input, events"


def _findings(workplace: Workplace, code: int, **environment: str) -> dict[str, dict[str, Any]]:
    done = workplace.run("doctor", "--json", **environment)
    assert done.returncode == code, done.stdout + done.stderr
    return {finding["subject"]: finding for finding in json.loads(done.stdout)["findings"]}


def test_installation_that_works_has_no_problem(workplace: Workplace, api: Api) -> None:
    task_id = api.file_task("echo hello")
    daemon = workplace.daemon()
    api.wait_for(task_id)

    found = _findings(workplace, 0, KERUTA_SESSION_ID="")  # the daemon knows it

    assert str(daemon.pid) in found["lock"]["text"]
    assert api.session_id in found["socket"]["text"]
    assert api.session_id in found["session"]["text"]
    assert f"PROCESSING; has {EVERYTHING}" in found["dialect"]["text"]
    assert "missing routes" not in found
    for subject in ("settings", "agent.db", "queue.db", "sub-reaper", "clock", "python", "outbox"):
        assert found[subject]["level"] == "ok", found[subject]


def test_doctor_prints_a_line_for_each_finding_and_a_summary(
    workplace: Workplace, api: Api
) -> None:
    done = workplace.run("doctor")

    assert done.returncode == 0
    *lines, empty, summary = done.stdout.splitlines()
    assert all(line.split()[0] in ("ok", "warning") for line in lines)
    assert len(lines) > 15
    assert empty == ""
    assert summary.startswith("no problems, ")


def test_doctor_makes_and_changes_nothing(workplace: Workplace, api: Api) -> None:
    before = api.tasks()

    assert workplace.run("doctor").returncode == 0

    assert not workplace.base_dir.exists()
    assert api.tasks() == before


def test_damaged_database_is_a_problem(workplace: Workplace, api: Api) -> None:
    daemon = workplace.daemon()
    daemon.stop()
    (workplace.base_dir / "agent.db").write_bytes(b"garbage " * 4096)
    (workplace.base_dir / "queue.db").write_bytes(b"garbage " * 4096)

    found = _findings(workplace, 1)

    assert found["agent.db"]["level"] == "problem"
    assert found["queue.db"]["level"] == "warning"
    assert "free" in found["lock"]["text"]


def test_api_that_is_not_there_is_a_problem(workplace: Workplace) -> None:
    found = _findings(workplace, 1, KERUTA_API_URL="http://127.0.0.1:1", KERUTA_SESSION_ID="s")

    assert found["api"]["level"] == "problem"
    assert "127.0.0.1:1" in found["api"]["text"]
    assert "KERUTA_API_URL" in found["api"]["advice"]


def test_session_that_is_not_there_is_a_problem(workplace: Workplace, api: Api) -> None:
    found = _findings(workplace, 1, KERUTA_SESSION_ID="no-such-session")

    assert found["session"]["level"] == "problem"
    assert "KERUTA_SESSION_ID" in found["session"]["advice"]


def test_token_that_is_wrong_is_a_problem_and_stays_unsaid(workplace: Workplace) -> None:
    workplace.environment["KERUTA_SERVER_TOKEN"] = "the-right-token"
    _, url = workplace.server()

    done = workplace.run("doctor", KERUTA_API_URL=url, KERUTA_API_TOKEN="the-wrong-token")

    assert done.returncode == 1
    assert "KERUTA_API_TOKEN" in done.stdout
    assert "the-wrong-token" not in done.stdout


def test_invalid_setting_is_a_problem(workplace: Workplace) -> None:
    found = _findings(workplace, 1, KERUTA_POLL_INTERVAL="often")

    assert "KERUTA_POLL_INTERVAL" in found["settings"]["text"]


def test_base_directory_that_can_never_be_made_is_a_problem(workplace: Workplace) -> None:
    workplace.base_dir.touch()  # root too can make no directory below a file

    inside = str(workplace.base_dir / "below")
    assert _findings(workplace, 1, KERUTA_BASE_DIR=inside)["base directory"]["level"] == "problem"
    assert _findings(workplace, 1)["base directory"]["level"] == "problem"


def test_base_directory_that_is_open_to_others_is_a_warning(workplace: Workplace, api: Api) -> None:
    workplace.base_dir.mkdir()
    workplace.base_dir.chmod(0o755)

    found = _findings(workplace, 0)

    assert found["base directory"]["level"] == "warning"
    assert "chmod 700" in found["base directory"]["advice"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
@pytest.mark.parametrize("kept", ["artifacts", "base"])
def test_directory_that_may_not_be_entered_is_a_finding(
    workplace: Workplace, tmp_path: Path, kept: str
) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o000)
    name = "KERUTA_ARTIFACTS_DIR" if kept == "artifacts" else "KERUTA_BASE_DIR"
    done = workplace.run("doctor", "--verbose", **{name: str(closed / "deep" / "dir")})
    closed.chmod(0o700)
    assert "a bug in keruta" not in done.stderr
    assert f"{closed}/deep/dir cannot be" in done.stdout


def test_what_waits_for_an_api_that_is_away_is_counted(workplace: Workplace, api: Api) -> None:
    workplace.daemon(KERUTA_API_URL=api.url)
    task_id = api.file_task("echo hello; while [ ! -e $KERUTA_RUN_DIR/go ]; do sleep 0.05; done")
    wait_until(lambda: api.task(task_id)["status"] == "PROCESSING", "the task runs")

    found = _findings(workplace, 1, KERUTA_API_URL="http://127.0.0.1:1")

    assert "job 1 runs" in found["socket"]["text"]
    assert "waiting" in found["outbox"]["text"]


@pytest.mark.parametrize("option", ["--kills", "--seed"])
def test_options_of_a_soak_without_a_soak_are_refused(workplace: Workplace, option: str) -> None:
    done = workplace.run("doctor", option, "3")

    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "--soak" in done.stderr
