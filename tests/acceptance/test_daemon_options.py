"""The options of ``keruta daemon`` do what they say, without any variable."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.helpers.api import Api
from tests.helpers.processes import Workplace
from tests.helpers.waiting import wait_until


def test_daemon_takes_everything_from_its_options(
    workplace: Workplace, api: Api, tmp_path: Path
) -> None:
    for name in ("KERUTA_API_URL", "KERUTA_SESSION_ID"):
        del workplace.environment[name]
    pid_file = tmp_path / "daemon.pid"

    daemon = workplace.start(
        *("daemon", "--api-url", api.url, "--session-id", api.session_id),
        *("--poll-interval", "200ms", "--pid-file", str(pid_file), "--log-level", "ERROR"),
        # Tasks are found by the poll alone.
        KERUTA_API_EVENTS="false",
    )
    wait_until(pid_file.exists, "the daemon has written its process id")
    assert pid_file.read_text().strip() == str(daemon.pid)
    tasks = [api.file_task("echo found") for _ in range(2)]

    assert [api.wait_for(task)["status"] for task in tasks] == ["COMPLETED"] * 2
    daemon.signal(signal.SIGTERM)
    assert daemon.wait() == 0
    assert daemon.err == ""
    assert not pid_file.exists()
