"""``keruta server prune``, and a server that prunes by itself."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import requests

from tests.helpers.processes import Process, Workplace
from tests.helpers.waiting import wait_until


def _start(workplace: Workplace, *options: str) -> tuple[Process, str]:
    data = str(workplace.path / "data")
    process = workplace.start("server", "--port", "0", "--data", data, *options)
    process.wait_for("listening on")
    return process, process.out.partition("listening on ")[2].split()[0]


def _ended_session(url: str, *, pinned: bool = False) -> tuple[str, str]:
    """Make an ended session with one ended task of three lines; return the ids of both."""
    body = {"name": "s", "pinned": pinned}
    session = requests.post(f"{url}/api/v1/sessions", json=body, timeout=10).json()["id"]
    body = {"name": "t", "sessionId": session}
    task = requests.post(f"{url}/api/v1/tasks", json=body, timeout=10).json()["id"]
    lines = [{"level": "INFO", "message": str(number)} for number in range(3)]
    requests.post(f"{url}/api/v1/tasks/{task}/logs", json=lines, timeout=10).raise_for_status()
    for status in ("PROCESSING", "COMPLETED"):
        body = {"status": status}
        requests.put(f"{url}/api/v1/tasks/{task}/status", json=body, timeout=10).raise_for_status()
    body = {"status": "COMPLETED"}
    address = f"{url}/api/v1/sessions/{session}/status"
    requests.put(address, json=body, timeout=10).raise_for_status()
    return session, task


def _sessions(url: str) -> list[object]:
    found: list[object] = requests.get(f"{url}/api/v1/sessions", timeout=10).json()
    return found


def _wait_for_less(url: str) -> None:
    begun = len(_sessions(url))
    wait_until(lambda: not begun or len(_sessions(url)) < begun, "something is pruned")


def _prune(workplace: Workplace, *options: str) -> dict[str, object]:
    data = str(workplace.path / "data")
    done = workplace.run("server", "prune", "--data", data, *options, "--json")
    assert done.returncode == 0, done.stderr
    told: dict[str, object] = json.loads(done.stdout)
    return told


def test_prune_beside_a_running_server_takes_what_is_old_and_leaves_what_is_pinned(
    workplace: Workplace,
) -> None:
    server, url = _start(workplace)
    session, _ = _ended_session(url)
    pinned, _ = _ended_session(url, pinned=True)
    would = {"sessions": 1, "tasks": 1, "log_lines": 3, "artifacts": 0, "coding_tasks": 0}

    assert _prune(workplace, "--retain-sessions", "0s", "--dry-run") == would | {"dry_run": True}
    assert requests.get(f"{url}/api/v1/sessions/{session}", timeout=10).status_code == 200
    assert _prune(workplace, "--retain-sessions", "0s") == would | {"dry_run": False}
    assert requests.get(f"{url}/api/v1/sessions/{session}", timeout=10).status_code == 404
    assert requests.get(f"{url}/api/v1/sessions/{pinned}", timeout=10).status_code == 200

    anew = workplace.run("server", "prune", "--data", str(workplace.path / "data"), "--vacuum")
    assert anew.returncode == 1
    assert "another keruta server uses the data directory" in anew.stderr
    assert server.stop() == 0


def test_server_that_is_told_to_prunes_by_itself(workplace: Workplace) -> None:
    server, url = _start(workplace)
    session, task = _ended_session(url)
    assert server.stop() == 0

    server, url = _start(workplace, "--retain-logs", "1ms")

    def is_pruned() -> bool:
        known = requests.get(f"{url}/api/v1/tasks/{task}", timeout=10).json()
        return known["logPrunedAt"] is not None

    wait_until(is_pruned, "the log is pruned")
    assert requests.get(f"{url}/api/v1/tasks/{task}/logs", timeout=10).json() == []
    assert requests.get(f"{url}/api/v1/sessions/{session}", timeout=10).status_code == 200
    assert server.stop() == 0


def test_server_that_is_killed_while_it_prunes_has_the_rest_pruned_at_the_next_start(
    workplace: Workplace,
) -> None:
    server, url = _start(workplace)
    tasks = [_ended_session(url)[1] for _ in range(30)]
    assert server.stop() == 0
    for _ in range(3):
        server, url = _start(workplace, "--retain-sessions", "1ms")
        _wait_for_less(url)
        server.kill()
    server, url = _start(workplace, "--retain-sessions", "1ms")
    wait_until(lambda: _sessions(url) == [], "all is pruned")
    gone = [requests.get(f"{url}/api/v1/tasks/{task}", timeout=10).status_code for task in tasks]
    assert set(gone) == {404}
    assert server.stop() == 0


def test_file_of_an_earlier_version_is_said_to_need_a_vacuum_and_gets_it(
    workplace: Workplace,
) -> None:
    data = workplace.path / "data"
    data.mkdir(mode=0o700)
    with closing(sqlite3.connect(data / "server.db")) as old:
        old.execute("CREATE TABLE of_old (a)")
    server, url = _start(workplace)
    _ended_session(url)
    assert server.stop() == 0

    said = workplace.run("server", "prune", "--data", str(data), "--retain-logs", "0")
    assert "keruta server prune --vacuum" in said.stdout
    anew = workplace.run("server", "prune", "--data", str(data), "--vacuum")
    assert anew.returncode == 0, anew.stderr
    assert _auto_vacuum(data / "server.db") == 2


def _auto_vacuum(path: Path) -> int:
    with closing(sqlite3.connect(path)) as database:
        return int(database.execute("PRAGMA auto_vacuum").fetchone()[0])


def test_prune_refuses_what_makes_no_sense(workplace: Workplace) -> None:
    nothing = workplace.run("server", "prune")
    assert nothing.returncode == 2
    assert "nothing says what is old" in nothing.stderr
    wrong = workplace.run("server", "--retain-logs", "soon")
    assert wrong.returncode == 2
    assert "90d" in wrong.stderr
    missing = workplace.run("server", "prune", "--retain-logs", "1d")
    assert missing.returncode == 1
    assert "there is no database of a server" in missing.stderr
