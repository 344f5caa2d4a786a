"""What people see of the queue, and how they take work out of it."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

from tests.helpers.api import Api
from tests.helpers.processes import Workplace
from tests.helpers.strange_api import forward, strange_server
from tests.helpers.waiting import wait_until


def _hold(place: Path) -> str:
    return f"echo begun; while [ ! -e {place}/go ]; do sleep 0.02; done; echo over"


def _json(workplace: Workplace, *command: str) -> Any:
    done = workplace.run(*command, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    return json.loads(done.stdout)


def test_queue_is_listed_in_the_order_in_which_it_will_run(
    workplace: Workplace, api: Api, tmp_path: Path
) -> None:
    first = api.file_task(_hold(tmp_path), name="最初", priority=9)
    daemon = workplace.daemon()
    api.wait_for(first, "PROCESSING")
    later, urgent = api.file_task("true", name="later"), api.file_task("true", priority=3)
    for task_id in (later, urgent):
        daemon.wait_for(f"recorded task {task_id}")

    listed = _json(workplace, "queue", "list")

    assert [job["task"] for job in listed] == [first, urgent, later]
    assert [job["state"] for job in listed] == ["running", "waiting", "waiting"]
    text = workplace.run("queue", "list").stdout
    assert "最初" in text and "running" in text
    counts = _json(workplace, "config", "show")["queue"]["jobs"]
    assert (counts["running"], counts["waiting"]) == (1, 2)
    shown = _json(workplace, "queue", "show", first)
    assert (shown["name"], shown["runs"][0]["outcome"]) == ("最初", None)
    assert "token" not in shown["runs"][0]


@pytest.mark.parametrize("with_daemon", [True, False])
def test_waiting_task_that_is_cancelled_never_runs_and_the_api_learns_it(
    workplace: Workplace, api: Api, tmp_path: Path, with_daemon: bool
) -> None:
    running = api.file_task(_hold(tmp_path), priority=1)
    waiting = api.file_task(f"touch {tmp_path}/wrong")
    daemon = workplace.daemon()
    daemon.wait_for(f"recorded task {waiting}")
    if not with_daemon:
        daemon.kill()

    done = workplace.run("queue", "cancel", waiting)
    assert (done.returncode, done.stdout) == (0, "job 2 is cancelled\n")
    if not with_daemon:
        workplace.daemon()
    (tmp_path / "go").touch()

    task = api.wait_for(waiting)
    assert (task["status"], task["errorCode"]) == ("FAILED", "CANCELLED")
    assert api.wait_for(running)["status"] == "COMPLETED"
    assert not (tmp_path / "wrong").exists()


def test_running_task_that_is_cancelled_is_stopped(
    workplace: Workplace, api: Api, tmp_path: Path
) -> None:
    task_id = api.file_task(_hold(tmp_path))
    workplace.daemon()
    wait_until(lambda: api.lines(task_id) == ["begun"], "the script runs")

    assert _json(workplace, "queue", "cancel", task_id) == {"job": 1, "was": "running"}

    task = api.wait_for(task_id)
    assert (task["status"], task["errorCode"]) == ("FAILED", "CANCELLED")
    assert "Cancelled by a person" in task["message"]
    assert workplace.run_processes() == []
    assert workplace.run("queue", "cancel", "1").stdout == "job 1 had ended already\n"


def test_running_task_that_is_cancelled_without_a_daemon_is_stopped_by_the_next_one(
    workplace: Workplace, api: Api, tmp_path: Path
) -> None:
    task_id = api.file_task(_hold(tmp_path))
    daemon = workplace.daemon()
    wait_until(lambda: api.lines(task_id) == ["begun"], "the script runs")
    daemon.kill()

    assert workplace.run("queue", "cancel", task_id).stdout == "job 1 is being stopped\n"
    workplace.daemon()

    assert api.wait_for(task_id)["errorCode"] == "CANCELLED"
    assert workplace.run_processes() == []


def test_task_that_is_cancelled_while_it_is_announced_never_runs_and_the_api_learns_it(
    workplace: Workplace, api: Api, tmp_path: Path
) -> None:
    task_id = api.file_task(f"touch {tmp_path}/wrong")
    announced, go_on = threading.Event(), threading.Event()

    def slow(method: str, path: str, body: bytes) -> tuple[int, str, bytes]:
        if method == "PUT" and b"PROCESSING" in body:
            announced.set()
            go_on.wait(30)
        return forward(api.url, method, path, body)

    with strange_server(slow) as url:
        workplace.daemon(KERUTA_API_URL=url)
        assert announced.wait(30)
        assert workplace.run("queue", "cancel", task_id).returncode == 0
        go_on.set()

        task = api.wait_for(task_id)

    assert (task["status"], task["errorCode"]) == ("FAILED", "CANCELLED")
    assert not (tmp_path / "wrong").exists()


def test_logs_are_followed_until_the_job_ends(
    workplace: Workplace, api: Api, tmp_path: Path
) -> None:
    task_id = api.file_task(f"keruta log WARN 注意 --field n=1\n{_hold(tmp_path)}")
    workplace.daemon()
    wait_until(lambda: api.lines(task_id) == ["begun"], "the script runs")
    following = workplace.start("logs", "-f", task_id)
    following.wait_for("begun")

    assert workplace.run("logs", "1").stdout == following.out
    assert following.running
    (tmp_path / "go").touch()

    assert following.wait() == 0
    assert sorted(following.out.splitlines()) == ["[WARN] 注意 n=1", "begun", "over"]
    entries = [
        json.loads(line) for line in workplace.run("logs", "1", "--json").stdout.split("\n")[:-1]
    ]
    assert [entry["message"] for entry in entries if entry["source"] == "stdout"] == [
        "begun",
        "over",
    ]


@pytest.mark.parametrize(
    "command", [("queue", "show", "99"), ("queue", "cancel", "x-y"), ("logs", "99")]
)
def test_job_that_does_not_exist_is_named_in_one_line(
    workplace: Workplace, command: tuple[str, ...]
) -> None:
    nowhere = workplace.run(*command)
    workplace.run("queue", "pause")  # makes the records
    done = workplace.run(*command)

    assert (nowhere.returncode, done.returncode) == (2, 2)
    assert f"no agent has run in {workplace.base_dir} yet" in nowhere.stderr
    assert command[-1] in done.stderr
    assert len(nowhere.stderr.splitlines()) == len(done.stderr.splitlines()) == 1


def test_config_show_names_the_source_of_each_setting_and_hides_the_token(
    workplace: Workplace,
) -> None:
    file = workplace.path / "home" / ".keruta" / "config.yaml"
    file.parent.mkdir()
    file.write_text("api:\n  url: http://from.file:1\n  token: very-secret\n", encoding="utf-8")

    found = _json(workplace, "config", "show")["settings"]
    text = workplace.run("config", "show").stdout

    assert (found["api.url"]["value"], found["api.url"]["source"]) == ("http://from.file:1", "file")
    assert found["daemon.poll_interval"]["source"] == "environment"
    assert found["daemon.port"]["source"] == "default"
    assert "very-secret" not in text + json.dumps(found)
    assert "KERUTA_POLL_INTERVAL" in text and str(file) in text
    assert f"Queue: {workplace.base_dir}/agent.db (not there yet)" in text
    assert not workplace.base_dir.exists()


def test_help_version_and_config_show_work_without_any_environment(workplace: Workplace) -> None:
    workplace.environment.clear()

    for command in (("--help",), ("version",), ("config", "show")):
        done = workplace.run(*command)
        assert (done.returncode, done.stderr) == (0, ""), command
        assert done.stdout
