"""How a daemon ends: signals, the end of its session, and a second daemon."""

from __future__ import annotations

import signal
from pathlib import Path

from tests.helpers.api import Api
from tests.helpers.processes import Workplace
from tests.helpers.waiting import wait_until


def _hold(place: Path) -> str:
    return f"echo begun; while [ ! -e {place}/go ]; do sleep 0.02; done; echo over"


def test_first_sigterm_finishes_the_running_task_and_takes_no_more(
    workplace: Workplace, api: Api, tmp_path: Path
) -> None:
    running, waiting = api.file_task(_hold(tmp_path), priority=1), api.file_task("true")
    daemon = workplace.daemon()
    api.wait_for(running, "PROCESSING")

    daemon.signal(signal.SIGTERM)
    daemon.wait_for("takes no more jobs")
    (tmp_path / "go").touch()

    assert daemon.wait() == 0
    assert api.task(running)["status"] == "COMPLETED"
    assert api.lines(running) == ["begun", "over"]
    assert api.task(waiting)["status"] == "PENDING"
    workplace.daemon()
    assert api.wait_for(waiting)["status"] == "COMPLETED"


def test_second_signal_stops_the_running_task(
    workplace: Workplace, api: Api, tmp_path: Path
) -> None:
    task_id = api.file_task(_hold(tmp_path))
    daemon = workplace.daemon()
    wait_until(lambda: api.lines(task_id) == ["begun"], "the script runs")

    daemon.signal(signal.SIGTERM)
    daemon.wait_for("takes no more jobs")
    daemon.signal(signal.SIGINT)

    assert daemon.wait() == 0
    task = api.task(task_id)
    assert (task["status"], task["errorCode"]) == ("FAILED", "AGENT_STOPPED")
    assert workplace.run_processes() == []


def test_third_signal_leaves_the_script_to_the_next_daemon(
    workplace: Workplace, api: Api, tmp_path: Path
) -> None:
    task_id = api.file_task(f"trap 'echo asked to end' TERM; {_hold(tmp_path)}")
    daemon = workplace.daemon(KERUTA_STOP_GRACE="1h")
    wait_until(lambda: api.lines(task_id) == ["begun"], "the script runs")

    daemon.signal(signal.SIGTERM)
    daemon.wait_for("takes no more jobs")
    daemon.signal(signal.SIGTERM)
    wait_until(lambda: "asked to end" in api.lines(task_id), "the script hears of it")
    daemon.signal(signal.SIGTERM)

    assert daemon.wait() == 0
    assert workplace.run_processes() != []
    workplace.daemon()
    (tmp_path / "go").touch()
    task = api.wait_for(task_id)
    assert (task["status"], task["errorCode"]) == ("FAILED", "AGENT_STOPPED")
    assert api.lines(task_id)[-1] == "over"


def test_daemon_leaves_when_its_session_has_ended(workplace: Workplace, api: Api) -> None:
    task_id = api.file_task("echo hello")
    daemon = workplace.daemon("--pid-file", str(workplace.path / "daemon.pid"))
    assert (workplace.path / "daemon.pid").read_text(encoding="ascii") == f"{daemon.pid}\n"
    api.wait_for(task_id)

    api.end_session()

    assert daemon.wait() == 0
    assert not (workplace.path / "daemon.pid").exists()


def test_daemon_with_keep_alive_stays_when_its_session_has_ended(
    workplace: Workplace, api: Api
) -> None:
    daemon = workplace.daemon("--keep-alive")

    api.end_session()
    daemon.wait_for("no more tasks are taken")

    assert workplace.run("execute", "echo still here").stdout == "still here\n"
    assert daemon.running
    assert daemon.stop() == 0


def test_second_daemon_is_refused_with_the_pid_of_the_first(workplace: Workplace, api: Api) -> None:
    first = workplace.daemon()

    second = workplace.run("daemon")

    assert second.returncode == 3
    assert f"process {first.pid}" in second.stderr
    assert len(second.stderr.splitlines()) == 1
    assert first.running


def test_task_that_somebody_else_finished_is_not_run(
    workplace: Workplace, api: Api, tmp_path: Path
) -> None:
    hold = api.file_task(_hold(tmp_path), priority=1)
    other = api.file_task(f"touch {tmp_path}/wrong")
    daemon = workplace.daemon()
    daemon.wait_for(f"recorded task {other}")

    api.write_status(other, "COMPLETED")
    (tmp_path / "go").touch()
    api.wait_for(hold)
    daemon.wait_for("job 2 ended: refused")

    assert api.task(other)["status"] == "COMPLETED"
    assert not (tmp_path / "wrong").exists()
