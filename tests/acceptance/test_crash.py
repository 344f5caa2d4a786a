"""kill -9 of the daemon at any moment: nothing runs twice, nothing is lost, nothing is doubled."""

from __future__ import annotations

import contextlib
import functools
import json
import os
import random
import signal
import sqlite3
import time
from pathlib import Path

import pytest

from tests.helpers.api import ENDED, Api
from tests.helpers.processes import Process, Workplace, is_alive
from tests.helpers.waiting import wait_until

_PRINTING = """\
echo run >> {place}/counter
for number in $(seq 40); do
    echo "line $number 日本語"
    [ "$number" = 20 ] && while [ ! -e {place}/go ]; do sleep 0.02; done
done
echo "to stderr" >&2
"""


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines() if path.exists() else []


def test_daemon_killed_while_a_script_prints_is_succeeded_by_one_that_follows_it(
    workplace: Workplace, api: Api, tmp_path: Path
) -> None:
    task_id = api.file_task(_PRINTING.format(place=tmp_path))
    first = workplace.daemon()
    wait_until(lambda: "line 20 日本語" in api.lines(task_id), "half of the output is stored")

    first.kill()
    second = workplace.daemon()
    second.wait_for("goes on following run")
    (tmp_path / "go").touch()

    assert api.wait_for(task_id)["status"] == "COMPLETED"
    assert _lines(tmp_path / "counter") == ["run"]
    assert api.lines(task_id) == [f"line {number} 日本語" for number in range(1, 41)]
    assert api.lines(task_id, "stderr") == ["to stderr"]


def test_script_that_ends_while_no_daemon_runs_is_reported_by_the_next_one(
    workplace: Workplace, api: Api, tmp_path: Path
) -> None:
    task_id = api.file_task(_PRINTING.format(place=tmp_path) + "exit 5\n")
    first = workplace.daemon()
    wait_until(lambda: "line 20 日本語" in api.lines(task_id), "half of the output is stored")

    first.kill()
    (tmp_path / "go").touch()
    [directory] = workplace.run_directories()
    wait_until((directory / "exit").exists, "the script has ended")
    workplace.daemon()

    task = api.wait_for(task_id)
    assert (task["status"], task["errorCode"]) == ("FAILED", "EXIT_5")
    assert _lines(tmp_path / "counter") == ["run"]
    assert api.lines(task_id) == [f"line {number} 日本語" for number in range(1, 41)]


#: Task {number} in a storm: it leaves a trace of each start, a log, an artifact, and an end.
_STORMY = """\
echo $KERUTA_TASK_ID >> {place}/started
for line in 1 2 3 4 5 6; do echo "task {number} line $line"; sleep 0.01; done
keruta log INFO "said {number}"
echo {number} > "$KERUTA_ARTIFACTS_DIR/result-{number}"
[ -n "$KERUTA_AUTO_FIX" ] || exit {code}
"""


def _assert_reported_once(workplace: Workplace, api: Api, task_id: str, number: int) -> None:
    started = _lines(workplace.path / "started")
    assert started.count(task_id) == 1
    assert api.lines(task_id) == [f"task {number} line {line}" for line in range(1, 7)]
    assert api.lines(task_id, "agent") == [f"said {number}"]
    assert [artifact["path"] for artifact in api.artifacts(task_id)] == [f"result-{number}"]


def _goes_on(workplace: Workplace, api: Api, seen: int) -> bool:
    """Return whether there are more starts than were seen, or will be no more."""
    return len(_lines(workplace.path / "started")) > seen or all(
        task["status"] in ENDED for task in api.tasks()
    )


@pytest.mark.parametrize(("seed", "victims"), [(1, "daemon"), (2, "daemon and server")])
def test_whatever_is_killed_at_random_moments_every_task_runs_once_and_is_reported_once(
    workplace: Workplace, mortal_api: tuple[Process, Api], seed: int, victims: str
) -> None:
    server, api = mortal_api
    chosen = random.Random(seed)
    workplace.environment["KERUTA_AUTO_FIX_ENABLED"] = "true"
    tasks = [
        api.file_task(_STORMY.format(place=workplace.path, number=number, code=number % 2))
        for number in range(6)
    ]
    for number in range(6):
        started = len(_lines(workplace.path / "started"))
        daemon = workplace.start("daemon")
        if number % 2:  # else a busy machine would come no further than the same step of one job
            wait_until(lambda seen=started: _goes_on(workplace, api, seen), "a script is started")
        # The moment of the kill is what is varied here; nothing is expected by then.
        time.sleep(chosen.uniform(0.3, 0.8))
        if victims == "daemon and server":
            server.kill()
            time.sleep(chosen.uniform(0, 0.2))
            server, _ = workplace.server(api.port)
        daemon.kill()
    workplace.daemon()
    api.wait_for_all(tasks)

    for number, task_id in enumerate(tasks):
        assert api.task(task_id)["status"] == ("FAILED" if number % 2 else "COMPLETED")
        _assert_reported_once(workplace, api, task_id, number)
        if number % 2:
            wait_until(functools.partial(api.fixes, task_id), "the auto-fix task is filed")
            [fix] = api.fixes(task_id)
            assert api.wait_for(fix)["status"] == "COMPLETED"
            _assert_reported_once(workplace, api, fix, number)
    wait_until(lambda: not workplace.run_processes(), "no process of a run is left")


def _shim(workplace: Workplace) -> int:
    """Return the pid of the process that looks after the one script that was started."""

    def found() -> int:
        [directory] = workplace.run_directories()
        identity = directory / "identity"
        return int(identity.read_text(encoding="ascii").split()[0]) if identity.exists() else 0

    return wait_until(found, "the script was started")


def test_task_whose_shim_is_killed_is_lost_and_leaves_no_process(
    workplace: Workplace, api: Api, tmp_path: Path
) -> None:
    task_id = api.file_task(f"echo before\nsleep 300 & echo $! > {tmp_path}/child; wait")
    workplace.daemon()
    child = wait_until((tmp_path / "child").exists, "the script runs") and int(
        wait_until((tmp_path / "child").read_text, "the child is known")
    )
    assert is_alive(child)

    os.kill(_shim(workplace), signal.SIGKILL)

    task = api.wait_for(task_id)
    assert (task["status"], task["errorCode"]) == ("FAILED", "LOST")
    assert task["message"].endswith("killed from outside, without an exit record: before")
    assert api.lines(task_id) == ["before"]
    assert not is_alive(child)
    story = workplace.run("explain", task_id).stdout
    assert "the agent ended what was left: processes " in story and str(child) in story
    assert workplace.run_processes() == []


def test_shim_killed_while_no_daemon_runs_is_found_by_the_next_one(
    workplace: Workplace, api: Api, tmp_path: Path
) -> None:
    task_id = api.file_task(f"echo run >> {tmp_path}/counter; echo before; sleep 300")
    daemon = workplace.daemon()
    wait_until(lambda: api.lines(task_id) == ["before"], "the script's output is stored")

    daemon.kill()
    os.kill(_shim(workplace), signal.SIGKILL)
    workplace.daemon()

    task = api.wait_for(task_id)
    assert (task["status"], task["errorCode"]) == ("FAILED", "LOST")
    assert _lines(tmp_path / "counter") == ["run"]
    assert workplace.run_processes() == []


def test_run_of_an_earlier_boot_is_reported_as_lost_to_the_restart(
    workplace: Workplace, api: Api
) -> None:
    task_id = api.file_task("echo before; sleep 300")
    daemon = workplace.daemon()
    wait_until(lambda: api.lines(task_id) == ["before"], "the script's output is stored")
    daemon.kill()
    for pid in [_shim(workplace), *workplace.run_processes()]:
        os.kill(pid, signal.SIGKILL)
    # What only a real restart does for us: another name of the time since the boot.
    [directory] = workplace.run_directories()
    with contextlib.closing(sqlite3.connect(directory.parents[1] / "agent.db")) as records, records:
        [[shim]] = records.execute("SELECT shim FROM runs")
        records.execute("UPDATE runs SET shim = ?", (f"{shim.rpartition(' ')[0]} another-boot",))

    workplace.daemon()

    task = api.wait_for(task_id)
    assert (task["status"], task["errorCode"]) == ("FAILED", "LOST")
    assert "machine was restarted" in task["message"]


def _note_of_start(workplace: Workplace) -> bool:
    shown = json.loads(workplace.run("queue", "show", "1", "--json").stdout)
    return bool(shown["runs"] and shown["runs"][0]["shim_pid"])


@pytest.mark.parametrize("daemon_dies", [False, True])
def test_script_whose_run_directory_is_removed_is_lost_and_not_started_again(
    workplace: Workplace, api: Api, tmp_path: Path, daemon_dies: bool
) -> None:
    removing = api.file_task(
        f"echo run >> {tmp_path}/counter; echo begun; while [ ! -e {tmp_path}/go ]; do sleep 0.02\n"
        f'done; rm -rf "$KERUTA_RUN_DIR"; touch {tmp_path}/removed\n'
        f"while [ ! -e {tmp_path}/end ]; do sleep 0.02; done",
        priority=1,
    )
    after = api.file_task("echo next")
    daemon = workplace.daemon()
    wait_until(lambda: api.lines(removing) == ["begun"], "the script runs")
    wait_until(lambda: _note_of_start(workplace), "its start is noted")

    (tmp_path / "go").touch()
    wait_until((tmp_path / "removed").exists, "the directory is removed")
    if daemon_dies:
        daemon.kill()
        workplace.daemon()
    else:
        (tmp_path / "end").touch()

    task = api.wait_for(removing)
    assert (task["status"], task["errorCode"]) == ("FAILED", "LOST")
    assert "run directory was removed" in task["message"]
    assert api.wait_for(after)["status"] == "COMPLETED"
    assert _lines(tmp_path / "counter") == ["run"]
    assert workplace.run_processes() == []
