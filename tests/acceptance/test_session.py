"""Which session a daemon serves, and what it makes of changes at the API."""

from __future__ import annotations

import json
from pathlib import Path

from tests.helpers.api import Api
from tests.helpers.processes import Workplace


def test_session_is_found_by_the_name_of_the_workspace(workplace: Workplace, api: Api) -> None:
    del workplace.environment["KERUTA_SESSION_ID"]
    task_id = api.file_task("echo served")

    daemon = workplace.daemon(CODER_WORKSPACE_NAME=f"ws-{api.session_id[:8]}-alice-1")

    assert api.wait_for(task_id)["status"] == "COMPLETED"
    assert f"serves the session {api.session_id}" in daemon.err


def test_workspace_without_a_session_says_what_to_set(workplace: Workplace, api: Api) -> None:
    del workplace.environment["KERUTA_SESSION_ID"]

    done = workplace.run("daemon", CODER_WORKSPACE_NAME="ws-0badc0de-nobody-1")

    assert done.returncode == 2
    assert "ws-0badc0de-nobody-1" in done.stderr and "--session-id" in done.stderr


def test_task_that_is_deleted_while_it_waits_is_not_run(
    workplace: Workplace, api: Api, tmp_path: Path
) -> None:
    hold = api.file_task(f"while [ ! -e {tmp_path}/go ]; do sleep 0.02; done", priority=1)
    deleted = api.file_task(f"touch {tmp_path}/wrong")
    daemon = workplace.daemon()
    daemon.wait_for(f"recorded task {deleted}")

    api.delete_task(deleted)
    (tmp_path / "go").touch()

    assert api.wait_for(hold)["status"] == "COMPLETED"
    daemon.wait_for("job 2 ended: refused")
    assert not (tmp_path / "wrong").exists()
    assert workplace.run("execute", "echo goes on").stdout == "goes on\n"


def test_script_that_is_changed_while_its_task_waits_is_run_as_it_is_then(
    workplace: Workplace, api: Api, tmp_path: Path
) -> None:
    api.file_task(f"while [ ! -e {tmp_path}/go ]; do sleep 0.02; done", priority=1)
    changed = api.file_task("echo before")
    daemon = workplace.daemon()
    daemon.wait_for(f"recorded task {changed}")

    api.write_script(changed, "echo after")
    (tmp_path / "go").touch()

    assert api.wait_for(changed)["status"] == "COMPLETED"
    assert api.lines(changed) == ["after"]


def test_daemon_logs_json_lines_to_a_file(workplace: Workplace, api: Api) -> None:
    file = workplace.path / "logs" / "daemon.log"
    task_id = api.file_task(
        "echo 日本語; mkdir -p $KERUTA_ARTIFACTS_DIR; ln -s / $KERUTA_ARTIFACTS_DIR/x", name="名前"
    )
    daemon = workplace.start("daemon", "--log-file", str(file), "--log-format", "json")
    api.wait_for(task_id)
    assert daemon.stop() == 0

    entries = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]

    actions = [entry["action"] for entry in entries]
    assert {"agent_ready", "task_recorded", "run_started", "run_ended"} <= set(actions)
    assert actions[-1] == "agent_stopped"
    [ended] = [entry for entry in entries if entry["action"] == "run_ended"]
    assert ended["task"] == task_id
    [left_out] = [entry for entry in entries if entry["action"] == "artifact_left_out"]
    assert (left_out["task"], left_out["run"]) == (task_id, ended["run"])
    assert (daemon.out, daemon.err) == ("", "")


def test_task_filed_while_the_daemon_idles_starts_by_the_servers_event(
    workplace: Workplace, api: Api
) -> None:
    first = api.file_task("true")
    workplace.daemon(KERUTA_POLL_INTERVAL="1h")
    api.wait_for(first)

    second = api.file_task("echo at once")

    assert api.wait_for(second)["status"] == "COMPLETED"
