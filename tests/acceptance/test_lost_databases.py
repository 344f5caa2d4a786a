"""Databases that are deleted, damaged or put back from a copy: nothing is lost or run twice."""

from __future__ import annotations

import json
import shutil
import sqlite3
from pathlib import Path

import pytest

from tests.helpers.api import Api
from tests.helpers.processes import Workplace
from tests.helpers.waiting import wait_until


def _traced(place: Path, name: str, rest: str = "true") -> str:
    return f"echo {name} >> {place}/ran; echo output of {name}; {rest}"


def _hold(place: Path) -> str:
    return f"while [ ! -e {place}/go ]; do sleep 0.02; done; echo over"


def _ran(place: Path) -> list[str]:
    return (place / "ran").read_text(encoding="ascii").split()


@pytest.mark.parametrize("damage", ["deleted", "garbage", "of another program"])
def test_nothing_is_lost_with_the_queue(
    workplace: Workplace, api: Api, tmp_path: Path, damage: str
) -> None:
    running = api.file_task(_traced(tmp_path, "first", _hold(tmp_path)), priority=1)
    tried = api.file_task(
        _traced(tmp_path, "tried", "[ $KERUTA_RUN_NUMBER = 2 ]"),
        priority=2,
        parameters={"retry": {"count": 1, "delay": "1s"}},
    )
    waiting = [
        api.file_task(_traced(tmp_path, name), priority=priority)
        for name, priority in (("third", 0), ("second", 1))
    ]
    daemon = workplace.daemon()
    for task_id in (running, *waiting):
        daemon.wait_for(f"recorded task {task_id}")
    wait_until(lambda: api.lines(running) == ["output of first"], "the script runs")
    daemon.kill()

    queue = workplace.base_dir / "queue.db"
    for path in workplace.base_dir.glob("queue.db*"):
        path.unlink()
    if damage == "garbage":
        queue.write_bytes(b"\x00garbage\xff" * 5000)
    elif damage == "of another program":
        with sqlite3.connect(queue) as connection:
            connection.execute("CREATE TABLE task (something TEXT)")
        connection.close()
    daemon = workplace.daemon()
    (tmp_path / "go").touch()

    api.wait_for_all([running, tried, *waiting])
    assert sorted(_ran(tmp_path)) == sorted(["first", "tried", "tried", "second", "third"])
    assert [name for name in _ran(tmp_path) if name in ("second", "third")] == ["second", "third"]
    assert {task["status"] for task in api.tasks()} == {"COMPLETED"}
    assert api.lines(running) == ["output of first", "over"]
    assert "Traceback" not in daemon.err


def test_agent_database_that_is_put_back_runs_nothing_twice_and_contradicts_nothing(
    workplace: Workplace, api: Api, tmp_path: Path
) -> None:
    before = api.file_task(_traced(tmp_path, "before"))
    daemon = workplace.daemon()
    assert api.wait_for(before)["status"] == "COMPLETED"
    assert daemon.stop() == 0
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in workplace.base_dir.glob("agent.db*"):
        shutil.copy2(path, copy)

    good = api.file_task(_traced(tmp_path, "good"))
    bad = api.file_task(_traced(tmp_path, "bad", "exit 3"))
    tried = api.file_task(
        _traced(tmp_path, "tried", "[ $KERUTA_RUN_NUMBER = 2 ]"),
        parameters={"retry": {"count": 1, "delay": 0}},
    )
    daemon = workplace.daemon()
    api.wait_for_all([good, bad, tried])
    running = api.file_task(_traced(tmp_path, "running", _hold(tmp_path)))
    wait_until(lambda: api.lines(running) == ["output of running"], "the script runs")
    reported = [before, good, bad, tried]
    tasks = [api.task(task_id) for task_id in reported]
    logs = [api.logs(task_id) for task_id in reported]
    daemon.kill()

    for path in workplace.base_dir.glob("agent.db*"):
        path.unlink()
    for path in copy.iterdir():
        shutil.copy2(path, workplace.base_dir)
    daemon = workplace.daemon(KERUTA_RETRY_COUNT="3")
    (tmp_path / "go").touch()
    after = api.file_task(_traced(tmp_path, "after"))

    # What would prove its end was in the lost records; nobody runs it again for that.
    assert api.wait_for(running)["status"] == "FAILED"
    assert api.task(running)["errorCode"] == "LOST"
    assert "agent.db was put back" in api.task(running)["message"]
    assert api.wait_for(after)["status"] == "COMPLETED"
    assert _ran(tmp_path) == ["before", "good", "bad", "tried", "tried", "running", "after"]
    # How much of its log was sent was in the lost records: a line may be there twice, none is
    # missing.
    assert api.lines(running)[-2:] == ["output of running", "over"]
    assert set(api.lines(running)) == {"output of running", "over"}
    assert [api.task(task_id) for task_id in reported] == tasks
    assert [api.logs(task_id) for task_id in reported] == logs
    assert "Traceback" not in daemon.err
    assert "It was found in a run directory" in workplace.run("explain", running).stdout


def test_files_that_are_removed_under_the_daemon_are_there_again_and_nothing_is_lost(
    workplace: Workplace, api: Api, tmp_path: Path
) -> None:
    running = api.file_task(_traced(tmp_path, "first", _hold(tmp_path) + "; keruta progress 90"))
    waiting = api.file_task(_traced(tmp_path, "second"))
    daemon = workplace.daemon()
    daemon.wait_for(f"recorded task {waiting}")
    wait_until(lambda: api.lines(running) == ["output of first"], "the script runs")

    for path in workplace.base_dir.glob("agent.*"):
        path.unlink()
    second = workplace.start("daemon")
    assert second.wait() == 3
    assert f"process {daemon.pid}." in second.err
    daemon.wait_for("replaces itself")
    wait_until((workplace.base_dir / "agent.sock").exists, "it is there again")
    (tmp_path / "go").touch()

    api.wait_for_all([running, waiting])
    assert _ran(tmp_path) == ["first", "second"]
    assert api.lines(running) == ["output of first", "over"]
    assert api.task(running)["status"] == "COMPLETED"
    jobs = json.loads(workplace.run("queue", "list", "--json").stdout)
    assert {job["task"] for job in jobs} == {running, waiting}
    assert daemon.stop() == 0
