"""Cancels: from the command to the last process gone, whatever the script has started."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from tests.helpers.api import Api
from tests.helpers.processes import Workplace, is_alive
from tests.helpers.waiting import wait_until

#: Seconds that any cancel may take beyond the grace; a busy machine needs far less.
MARGIN_S = 20.0


def _pid(file: Path) -> int:
    return int(wait_until(lambda: file.exists() and file.read_text(encoding="ascii"), f"{file}"))


_SLEEP = "echo $$ > {place}/pid; exec sleep 300"
_PIPELINE = "sh -c 'echo $$ > {place}/pid.new; mv {place}/pid.new {place}/pid; exec yes' | cat | wc"
_SETSID = (
    "(setsid sh -c 'echo $$ > {place}/pid.new; mv {place}/pid.new {place}/pid; exec sleep 300' "
    "> /dev/null 2>&1 &)\nsleep 300"
)
_STUBBORN = "trap '' TERM; echo $$ > {place}/pid; while :; do sleep 1; done"
_STUBBORN_SETSID = (
    "(setsid sh -c 'trap \"\" TERM; echo $$ > {place}/pid; while :; do sleep 1; done' &)\nsleep 300"
)


@pytest.mark.parametrize(
    ("script", "grace_s"),
    [(_SLEEP, 300), (_PIPELINE, 300), (_SETSID, 300), (_STUBBORN, 1), (_STUBBORN_SETSID, 1)],
    ids=["sleep", "pipeline", "double fork", "ignores SIGTERM", "double fork ignores SIGTERM"],
)
def test_cancel_ends_the_last_process_within_the_grace(
    workplace: Workplace, api: Api, tmp_path: Path, script: str, grace_s: int
) -> None:
    task_id = api.file_task(script.format(place=tmp_path), parameters={"retry": 5})
    workplace.daemon(KERUTA_STOP_GRACE=f"{grace_s}s", KERUTA_AUTO_FIX_ENABLED="true")
    pid = _pid(tmp_path / "pid")

    began = time.monotonic()
    assert workplace.run("queue", "cancel", task_id).returncode == 0
    wait_until(lambda: not workplace.run_processes(), "the last process is gone", 60)
    took_s = time.monotonic() - began

    # Who heeds SIGTERM does not cost the grace of five minutes; who does not, no more than it.
    assert took_s < (grace_s if grace_s < 60 else 0) + MARGIN_S
    assert not is_alive(pid)
    task = api.wait_for(task_id)
    assert (task["status"], task["errorCode"]) == ("FAILED", "CANCELLED")
    assert api.fixes(task_id) == []
    story = workplace.run("explain", task_id).stdout
    assert "It is to stop (cancelled): Cancelled by a person." in story
    assert "was sent to process" in story and str(pid) in story
    assert "tried again" not in story


def test_cancel_thaws_a_frozen_shim(workplace: Workplace, api: Api, tmp_path: Path) -> None:
    task_id = api.file_task(_SLEEP.format(place=tmp_path))
    workplace.daemon(KERUTA_STOP_GRACE="300s")
    pid = _pid(tmp_path / "pid")
    [directory] = workplace.run_directories()
    shim = int((directory / "identity").read_text(encoding="ascii").split()[0])
    os.kill(shim, signal.SIGSTOP)

    began = time.monotonic()
    workplace.run("queue", "cancel", task_id)
    task = api.wait_for(task_id)

    assert time.monotonic() - began < MARGIN_S
    assert task["errorCode"] == "CANCELLED"
    assert not is_alive(pid) and workplace.run_processes() == []


def test_task_that_is_deleted_at_the_api_is_stopped_and_the_next_one_runs(
    workplace: Workplace, api: Api, tmp_path: Path
) -> None:
    deleted = api.file_task(_SLEEP.format(place=tmp_path), priority=1)
    after = api.file_task("echo next")
    daemon = workplace.daemon()
    pid = _pid(tmp_path / "pid")

    api.delete_task(deleted)

    assert api.wait_for(after)["status"] == "COMPLETED"
    assert not is_alive(pid)
    daemon.wait_for("job 1 ended: refused: The task was deleted at the API")
    assert [task["id"] for task in api.tasks()] == [after]


def test_session_that_ends_stops_what_runs_and_the_daemon_leaves(
    workplace: Workplace, api: Api, tmp_path: Path
) -> None:
    task_id = api.file_task(_SLEEP.format(place=tmp_path), priority=1)
    waiting = api.file_task("true")
    daemon = workplace.daemon()
    pid = _pid(tmp_path / "pid")

    api.end_session()

    assert daemon.wait() == 0
    assert not is_alive(pid)
    task = api.task(task_id)
    assert (task["status"], task["errorCode"]) == ("FAILED", "CANCELLED")
    assert "The session is COMPLETED" in task["message"]
    assert api.task(waiting)["status"] == "PENDING"


def test_task_timeout_of_the_daemon_and_of_the_task_are_kept(
    workplace: Workplace, api: Api, tmp_path: Path
) -> None:
    by_daemon = api.file_task("echo a; sleep 300")
    by_task = api.file_task("echo b; sleep 300", parameters={"timeout": "200ms"})
    without = api.file_task("sleep 1.2; echo c", parameters={"timeout": 0})
    wrong = api.file_task(f"touch {tmp_path}/ran", parameters={"timeout": "soon"})
    workplace.daemon("--task-timeout", "500ms")
    api.wait_for_all([by_daemon, by_task, without, wrong])

    ends = [
        (api.task(task)["errorCode"], api.task(task)["message"]) for task in (by_daemon, by_task)
    ]
    assert ends == [
        ("TIMED_OUT", "The script took longer than 500ms: a"),
        ("TIMED_OUT", "The script took longer than 200ms: b"),
    ]
    assert api.task(without)["status"] == "COMPLETED"
    assert api.task(wrong)["errorCode"] == "NOT_STARTED"
    assert not (tmp_path / "ran").exists()
    assert workplace.run_processes() == []
