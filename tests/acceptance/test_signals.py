"""The daemon's signals and its service manager, with real processes."""

from __future__ import annotations

import os
import shlex
import signal
import socket
from pathlib import Path

import pytest

from tests.helpers.api import Api
from tests.helpers.gate import Passage, gate_before
from tests.helpers.processes import KERUTA, Process, Workplace, is_alive
from tests.helpers.waiting import wait_until

SECRET = "glpat-of-the-daemon-0123456789"


def _hold(place: Path) -> str:
    return (
        f"echo run >> {place}/runs; echo begun; "
        f"while [ ! -e {place}/go ]; do sleep 0.02; done; echo over"
    )


def _times(daemon: Process, text: str) -> int:
    return daemon.err.count(text)


def _zombies_below(pid: int) -> list[str]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == pid and fields[0] == b"Z":
                found.append(entry.name)
    return found


def test_stop_that_the_retry_rule_names_is_tried_again_by_the_next_daemon(
    workplace: Workplace, api: Api, tmp_path: Path
) -> None:
    rule = {"count": 1, "on": ["stopped"], "delay": 0}
    task_id = api.file_task(_hold(tmp_path), parameters={"retry": rule})
    daemon = workplace.daemon()
    wait_until(lambda: api.lines(task_id) == ["begun"], "the script runs")

    daemon.signal(signal.SIGTERM)
    daemon.signal(signal.SIGINT)

    assert daemon.wait() == 0
    assert workplace.run_processes() == []
    assert api.task(task_id)["status"] == "PROCESSING"
    (tmp_path / "go").touch()
    workplace.daemon()
    assert api.wait_for(task_id)["status"] == "COMPLETED"
    assert (tmp_path / "runs").read_text(encoding="ascii") == "run\nrun\n"


def test_two_equal_signals_at_once_lose_nothing(
    workplace: Workplace, api: Api, tmp_path: Path
) -> None:
    task_id = api.file_task(_hold(tmp_path))
    daemon = workplace.daemon()
    wait_until(lambda: api.lines(task_id) == ["begun"], "the script runs")

    # The kernel may deliver two equal signals as one, so both endings are right.
    daemon.signal(signal.SIGTERM)
    daemon.signal(signal.SIGTERM)
    daemon.wait_for("takes no more jobs")
    (tmp_path / "go").touch()

    assert daemon.wait() == 0
    task = api.task(task_id)
    assert (task["status"], task["errorCode"]) in (("COMPLETED", ""), ("FAILED", "AGENT_STOPPED"))
    assert workplace.run_processes() == []
    assert "Traceback" not in daemon.err


def test_stop_timeout_stops_a_task_that_takes_too_long_to_finish(
    workplace: Workplace, api: Api, tmp_path: Path
) -> None:
    task_id = api.file_task(_hold(tmp_path))
    daemon = workplace.daemon("--stop-timeout", "300ms")
    wait_until(lambda: api.lines(task_id) == ["begun"], "the script runs")

    assert daemon.stop() == 0

    task = api.task(task_id)
    assert (task["status"], task["errorCode"]) == ("FAILED", "AGENT_STOPPED")
    assert "The agent was stopped" in task["message"]
    story = workplace.run("explain", task_id).stdout
    assert "It is to stop (agent stopped): The agent was stopped." in story
    assert story.index("SIGTERM was sent to process") < story.index("The run ended: agent stopped")


def test_hangup_replaces_the_daemon_in_place_and_the_script_is_adopted(
    workplace: Workplace, api: Api, tmp_path: Path
) -> None:
    workplace.forks = False
    config = workplace.path / "home" / ".keruta" / "config.yaml"
    config.parent.mkdir()
    config.write_text("logging:\n  format: text\n", encoding="ascii")
    task_id = api.file_task(_hold(tmp_path))
    daemon = workplace.daemon(GIT_TOKEN=SECRET, OPENAI_API_KEY=SECRET)
    environment = Path(f"/proc/{daemon.pid}/environ")
    wait_until(lambda: api.lines(task_id) == ["begun"], "the script runs")
    assert SECRET.encode() not in environment.read_bytes()  # the script could read it

    for number in (2, 3):
        config.write_text("logging:\n  format: json\n", encoding="ascii")
        daemon.signal(signal.SIGHUP)
        wait_until(lambda wanted=number: _times(daemon, "is ready") == wanted, "it is ready again")
        assert SECRET.encode() not in environment.read_bytes()
    assert (workplace.base_dir / "agent.pid").read_text(encoding="ascii") == f"{daemon.pid}\n"
    (tmp_path / "go").touch()

    assert api.wait_for(task_id)["status"] == "COMPLETED"
    after = api.file_task("echo after")
    assert api.wait_for(after)["status"] == "COMPLETED"
    assert (tmp_path / "runs").read_text(encoding="ascii") == "run\n"
    assert api.lines(task_id) == ["begun", "over"]
    wait_until(lambda: not _zombies_below(daemon.pid), "no zombie is left")
    assert '{"' in daemon.err, "the config file was not read again"
    assert "Traceback" not in daemon.err
    assert daemon.stop() == 0


def test_hangups_in_a_row_do_not_end_the_daemon(workplace: Workplace, api: Api) -> None:
    daemon = workplace.daemon()
    replaced = "replaces itself"
    for _ in range(2):
        seen = _times(daemon, replaced)
        daemon.signal(signal.SIGHUP)
        wait_until(lambda before=seen: _times(daemon, replaced) > before, "it replaces itself")
        # Now the new image is on its way and does not listen yet.
        daemon.signal(signal.SIGHUP)
    task_id = api.file_task("echo still here")
    assert api.wait_for(task_id)["status"] == "COMPLETED"
    assert daemon.running


def test_stop_that_comes_while_the_daemon_replaces_itself_is_not_forgotten(
    workplace: Workplace, api: Api
) -> None:
    daemon = workplace.daemon()
    daemon.signal(signal.SIGHUP)
    daemon.wait_for("replaces itself")
    assert daemon.stop() == 0
    assert daemon.err.rstrip().endswith("keruta has stopped")


def test_hangups_while_a_task_is_announced_do_not_count_against_it(
    workplace: Workplace, api: Api
) -> None:
    task_id = api.file_task("echo hello")

    def hang_at_the_announcement(passage: Passage) -> bool:
        return passage.path.endswith(f"{task_id}/status") and gate.hang(passage)

    with gate_before(api.url) as gate:
        gate.trouble = hang_at_the_announcement
        daemon = workplace.daemon(KERUTA_API_URL=gate.url)
        for number in range(1, 5):
            wait_until(lambda seen=number: len(gate.turned_away) >= seen, "it is announced")
            daemon.signal(signal.SIGHUP)
            wait_until(lambda seen=number: _times(daemon, "is ready") > seen, "it is ready again")
        gate.trouble = None
        gate.over.set()

        assert api.wait_for(task_id)["status"] == "COMPLETED"
        assert "failed at it" not in workplace.run("explain", task_id).stdout


def test_hangup_after_a_stop_replaces_nothing(
    workplace: Workplace, api: Api, tmp_path: Path
) -> None:
    running, waiting = api.file_task(_hold(tmp_path), priority=1), api.file_task("true")
    daemon = workplace.daemon()
    api.wait_for(running, "PROCESSING")

    daemon.signal(signal.SIGTERM)
    daemon.wait_for("takes no more jobs")
    daemon.signal(signal.SIGHUP)
    (tmp_path / "go").touch()

    assert daemon.wait() == 0
    assert "replaces itself" not in daemon.err
    assert api.task(waiting)["status"] == "PENDING"


def test_hangup_that_nohup_ignores_stays_ignored(
    workplace: Workplace, api: Api, tmp_path: Path
) -> None:
    command = f"nohup {shlex.quote(KERUTA)} daemon > {tmp_path}/nohup.log 2>&1 & echo $!"
    pid = int(_shell(command, workplace))
    log = tmp_path / "nohup.log"
    try:
        wait_until(lambda: "is ready" in log.read_text(encoding="utf-8"), "it is ready")
        os.kill(pid, signal.SIGHUP)
        task_id = api.file_task("echo on")
        assert api.wait_for(task_id)["status"] == "COMPLETED"
        assert is_alive(pid)
        assert "replaces itself" not in log.read_text(encoding="utf-8")
    finally:
        os.kill(pid, signal.SIGTERM)
        wait_until(lambda: not is_alive(pid), "it has ended")


def _shell(command: str, workplace: Workplace) -> str:
    import subprocess

    return subprocess.run(
        ["sh", "-c", command],
        env=workplace.environment,
        capture_output=True,
        encoding="ascii",
        check=True,
    ).stdout


@pytest.fixture
def heard(tmp_path: Path):  # type: ignore[no-untyped-def]
    """What a service manager hears."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    listener.setblocking(False)
    listener.bind(str(tmp_path / "notify"))
    lines: list[str] = []

    def hear() -> list[str]:
        while True:
            try:
                lines.extend(listener.recv(4096).decode().splitlines())
            except BlockingIOError:
                return lines

    yield hear
    listener.close()


def test_service_manager_is_notified_of_the_daemons_life(
    workplace: Workplace,
    api: Api,
    tmp_path: Path,
    heard,  # type: ignore[no-untyped-def]
) -> None:
    task_id = api.file_task(_hold(tmp_path))
    daemon = workplace.daemon(NOTIFY_SOCKET=str(tmp_path / "notify"), WATCHDOG_USEC="1000000")
    wait_until(lambda: api.lines(task_id) == ["begun"], "the script runs")
    assert heard()[0] == "READY=1"
    wait_until(lambda: heard().count("WATCHDOG=1") > 1, "it says that it lives")

    daemon.signal(signal.SIGHUP)
    wait_until(lambda: heard().count("READY=1") == 2, "it is ready again")
    assert "RELOADING=1" in heard()
    assert "STOPPING=1" not in heard()

    daemon.signal(signal.SIGTERM)
    wait_until(lambda: "EXTEND_TIMEOUT_USEC=30000000" in heard(), "it asks for more time")
    signs = heard().count("WATCHDOG=1")
    wait_until(lambda: heard().count("WATCHDOG=1") > signs, "it lives while it finishes the task")
    (tmp_path / "go").touch()
    assert daemon.wait() == 0
    assert "STOPPING=1" in heard()
    assert "NOTIFY_SOCKET" not in workplace.run("logs", "1").stdout


def test_log_file_that_was_moved_away_is_opened_anew_on_demand(
    workplace: Workplace, api: Api, tmp_path: Path
) -> None:
    log = tmp_path / "log" / "daemon.log"
    daemon = workplace.start("daemon", "--log-file", str(log), "--pid-file", str(tmp_path / "pid"))
    wait_until(lambda: log.exists() and "is ready" in log.read_text(), "the daemon is ready")
    log.rename(tmp_path / "log" / "moved")

    os.kill(int((tmp_path / "pid").read_text(encoding="ascii")), signal.SIGUSR1)

    wait_until(lambda: log.exists() and "new log file" in log.read_text(), "a new file is there")
    task_id = api.file_task("true")
    assert api.wait_for(task_id)["status"] == "COMPLETED"
    assert daemon.stop() == 0
    moved = (tmp_path / "log" / "moved").read_text(encoding="utf-8")
    assert "is ready" in moved and "ended" not in moved
    assert "ended: succeeded" in log.read_text(encoding="utf-8")
    assert log.stat().st_mode & 0o777 == 0o600
