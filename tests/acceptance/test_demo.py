"""``keruta demo`` as a person runs it: what it shows, how it ends, and that nothing is left."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
from pathlib import Path

import pytest

from keruta_agent.cli import demo_showing
from keruta_agent.core import errors
from tests.helpers.processes import KERUTA, Workplace, is_alive
from tests.helpers.waiting import wait_until

#: The bar of a task that is done.
DONE = "[####################]"


@pytest.fixture
def temporary(workplace: Workplace) -> Path:
    """The place for temporary files, which the demo must leave empty.

    A user's own keruta is set up beside it, which must neither be used nor be touched.
    """
    directory = workplace.path / "t"
    directory.mkdir()
    workplace.environment.update(
        TMPDIR=str(directory),
        KERUTA_API_URL="http://127.0.0.1:9",
        KERUTA_SESSION_ID="somebody-elses",
        KERUTA_MAX_CONCURRENT_TASKS="7",
        CODER_WORKSPACE_ID="somebody-elses",
    )
    config = workplace.path / "home" / ".keruta" / "config.yaml"
    config.parent.mkdir()
    config.write_text("no: config\n", encoding="utf-8")
    return directory


def processes_in(directory: Path) -> list[int]:
    """Return the living processes whose working directory or environment is in a directory."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            place = str((entry / "cwd").readlink())
            environment = (entry / "environ").read_bytes()
        except OSError:  # gone meanwhile, or another user's
            continue
        ours = place.startswith(f"{directory}/") or f"={directory}/".encode() in environment
        if ours and is_alive(int(entry.name)):
            found.append(int(entry.name))
    return found


def assert_nothing_is_left(workplace: Workplace, temporary: Path) -> None:
    wait_until(lambda: not processes_in(temporary), "no process of the demo is left")
    assert list(temporary.iterdir()) == []
    assert not workplace.base_dir.exists()


def test_demo_prints_json_for_programs(workplace: Workplace, temporary: Path) -> None:
    result = workplace.run("demo", "--json")

    assert result.returncode == 0, result.stderr
    answer = json.loads(result.stdout)
    assert answer["complaints"] == []
    states = {task["name"]: task["status"] for task in answer["tasks"]}
    assert states.pop("fail-and-be-fixed") == "FAILED"
    assert set(states.values()) == {"COMPLETED"}
    assert len(states) == 6
    assert_nothing_is_left(workplace, temporary)


def test_demo_that_loses_its_terminal_leaves_nothing(workplace: Workplace, temporary: Path) -> None:
    started = workplace.start("demo")
    started.wait_for("hello: PROCESSING")

    started.signal(signal.SIGHUP)

    assert started.wait() == 130
    assert_nothing_is_left(workplace, temporary)


def test_demo_says_when_its_daemon_dies_and_leaves_nothing(
    workplace: Workplace, temporary: Path
) -> None:
    started = workplace.start("demo")
    started.wait_for("hello: PROCESSING")

    os.kill(daemon_in(temporary), signal.SIGKILL)

    assert started.wait() == 1
    assert "keruta: the daemon ended with exit code -9" in started.err
    assert "serves the session" in started.err  # the tail of its log
    assert_nothing_is_left(workplace, temporary)


def test_kept_demo_shows_every_outcome_and_goes_on_until_it_is_stopped_as_it_says(
    workplace: Workplace, temporary: Path
) -> None:
    result = workplace.run("demo", "--keep")

    said = re.search(r"^Stop:  keruta (demo --stop (\S+))$", result.stdout, re.M)
    assert said is not None, result.stdout + result.stderr
    found = re.search(r"^  processes  server (\d+), daemon (\d+)$", result.stdout, re.M)
    assert found is not None
    pids = [int(found[1]), int(found[2])]
    try:
        assert result.returncode == 0
        assert result.stderr == ""
        lines = result.stdout.splitlines()
        assert any(re.fullmatch(r"\d\d:\d\d:\d\d hello: PROCESSING .*%.*", line) for line in lines)
        assert any(line.endswith("hello | step 1 of 5") for line in lines)
        assert "ask-for-input | (the demo answers: 世界)" in result.stdout
        assert re.search(
            r"^ask-for-input +COMPLETED .* greeted 世界, 3 times$", result.stdout, re.M
        )
        assert re.search(r"^fail-and-be-fixed +FAILED ", result.stdout, re.M)
        assert re.search(
            r"^\S+ fail-and-be-fixed +COMPLETED .* fail-and-be-fixed ", result.stdout, re.M
        )
        assert "7 tasks ran" in result.stdout
        assert "3 artifacts arrived" in result.stdout
        assert all(is_alive(pid) for pid in pids)
        base_dir = re.search(r"^Look:  KERUTA_BASE_DIR=(\S+) ", result.stdout, re.M)
        assert base_dir is not None
        jobs = workplace.run(
            "--config",
            os.devnull,
            "queue",
            "list",
            "--all",
            KERUTA_BASE_DIR=base_dir[1],
            KERUTA_MAX_CONCURRENT_TASKS="1",
        )
        assert "hello" in jobs.stdout, jobs.stderr
        # What a person began meanwhile does not keep it from being stopped.
        busy = workplace.run(
            "--config",
            os.devnull,
            "execute",
            "--detach",
            "trap '' TERM; while :; do sleep 1; done",
            KERUTA_BASE_DIR=base_dir[1],
            KERUTA_MAX_CONCURRENT_TASKS="1",
        )
        assert busy.returncode == 0, busy.stderr
    finally:
        stopped = workplace.run(*said[1].split())
    assert (stopped.returncode, stopped.stderr) == (0, "")
    assert not any(map(is_alive, pids))
    assert not Path(said[2]).exists()
    assert_nothing_is_left(workplace, temporary)


def test_directory_that_is_no_demo_is_left_alone(workplace: Workplace, temporary: Path) -> None:
    mine = temporary / "mine"
    mine.mkdir()
    refused = workplace.run("demo", "--stop", str(mine))
    assert refused.returncode == 2
    assert "holds no demo that was kept" in refused.stderr
    assert mine.exists()
    mine.rmdir()


def daemon_in(temporary: Path) -> int:
    """Return the pid of the demo's daemon."""
    for pid in processes_in(temporary):
        if b"\0daemon\0" in Path(f"/proc/{pid}/cmdline").read_bytes():
            return pid
    raise AssertionError("no daemon runs")


def test_demo_without_its_task_scripts_names_them() -> None:
    with pytest.raises(errors.NotFound, match=r"no-such-task\.sh is missing"):
        demo_showing.task_script("no-such-task")


def test_demo_uses_a_terminal_for_bars_and_ctrl_c_leaves_nothing(
    workplace: Workplace, temporary: Path
) -> None:
    shown = TerminalDemo(workplace)

    assert "\x1b[J" in shown.screen
    assert "hello" in shown.screen
    assert DONE in shown.screen
    assert shown.exit_code == 130, shown.screen
    assert_nothing_is_left(workplace, temporary)


class TerminalDemo:
    """The demo on a pseudo-terminal without colours, until Ctrl-C after its first task."""

    def __init__(self, workplace: Workplace) -> None:
        ours, theirs = pty.openpty()
        environment = {
            **workplace.environment,
            "TERM": "xterm",
            "NO_COLOR": "1",
            "COLUMNS": "100",
            "LINES": "40",
        }
        process = subprocess.Popen(
            [KERUTA, "demo"],
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        seen = b""
        is_interrupted = False
        try:
            while chunk := os.read(ours, 65536):
                seen += chunk
                if DONE.encode() in seen and not is_interrupted:
                    process.send_signal(signal.SIGINT)
                    is_interrupted = True
        except OSError:  # how Linux says that the other side is closed
            pass
        finally:
            os.close(ours)
            process.terminate()
        self.exit_code = process.wait(30)
        self.screen = seen.decode()
