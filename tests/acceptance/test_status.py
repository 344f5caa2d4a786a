"""``keruta status``: one look, with and without a daemon; watched on a terminal and in a pipe."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
from typing import Any

from tests.helpers.api import Api
from tests.helpers.gate import gate_before
from tests.helpers.processes import KERUTA, TIMEOUT_S, Workplace
from tests.helpers.waiting import wait_until

UNTIL_GO = "while [ ! -e $KERUTA_RUN_DIR/go ]; do sleep 0.05; done"


def facts(workplace: Workplace, code: int) -> dict[str, Any]:
    done = workplace.run("status", "--json")
    assert done.returncode == code, done.stderr
    return dict(json.loads(done.stdout))


def test_status_without_a_daemon_exits_with_4_and_makes_nothing(workplace: Workplace) -> None:
    done = workplace.run("status")

    assert done.returncode == 4
    assert done.stdout.startswith(f"daemon   none runs for {workplace.base_dir}\n")
    assert done.stdout.endswith("Start a daemon: keruta daemon\n")
    assert not workplace.base_dir.exists()


def test_status_shows_what_runs_waits_and_ended(workplace: Workplace, api: Api) -> None:
    first = api.file_task("echo done")
    daemon = workplace.daemon()
    api.wait_for(first)
    running = api.file_task(
        f"echo 'first line'; keruta progress 40 --message 'zwei von fünf'; echo here; {UNTIL_GO}",
        name="ビルド",
    )
    wait_until(lambda: api.task(running)["progress"] == 40, "it is under way")
    waiting = api.file_task("true", name="next one")

    def complete() -> dict[str, Any] | None:
        found = facts(workplace, 0)
        has_all = found["waiting"] == 1 and (found["current"] or {}).get("last_line") == "here"
        return found if has_all else None

    found = wait_until(complete, "all of it is seen")

    assert found["daemon"]["pid"] == daemon.pid
    assert found["daemon"]["session"] == api.session_id
    assert found["daemon"]["uptime_s"] > 0
    assert found["current"]["name"] == "ビルド"
    assert (found["current"]["task"], found["current"]["progress"]) == (running, 40)
    assert found["current"]["progress_message"] == "zwei von fünf"
    assert [job["task"] for job in found["next"]] == [waiting]
    assert [(job["task"], job["outcome"]) for job in found["ended"]] == [(first, "succeeded")]
    assert found["api_url"] == api.url
    assert found["advice"] == []
    elsewhere = workplace.run("status", KERUTA_API_URL="")
    assert f"api      {api.url}\n" in elsewhere.stdout, "the daemon knows it"
    text = workplace.run("status").stdout
    assert "[########............] 40 % zwei von fünf" in text

    daemon.kill()
    left = workplace.run("status")
    assert left.returncode == 4
    assert "followed by nobody" in left.stdout
    (workplace.run_directories()[-1] / "go").touch()


def test_daemon_that_hangs_is_distinguished_from_one_that_is_not_there(
    workplace: Workplace,
) -> None:
    daemon = workplace.daemon()
    daemon.signal(signal.SIGSTOP)
    try:
        found = facts(workplace, 0)
    finally:
        daemon.signal(signal.SIGCONT)

    assert (found["daemon"]["pid"], found["daemon"]["answers"]) == (daemon.pid, False)
    assert "does not answer" in found["advice"][0]


def test_watch_in_a_pipe_prints_each_change_and_ends_well_with_ctrl_c(
    workplace: Workplace,
) -> None:
    watch = workplace.start("status", "--watch", "0.1", "--json")
    wait_until(lambda: watch.out.count("\n") == 1, "the first look is printed")
    workplace.run("queue", "pause", "--reason", "for a test")
    wait_until(lambda: watch.out.count("\n") == 2, "the change is printed")

    watch.signal(signal.SIGINT)

    assert watch.wait() == 0
    first, second = (json.loads(line) for line in watch.out.splitlines())
    assert (first["paused"], second["paused"]) == (None, "for a test")
    assert watch.err == ""


def test_watch_on_a_terminal_redraws_in_place_until_ctrl_c(workplace: Workplace) -> None:
    main, other = pty.openpty()
    watch = subprocess.Popen(
        [KERUTA, "status", "--watch", "0.1"],
        env={**workplace.environment, "TERM": "xterm", "COLUMNS": "100", "NO_COLOR": "1"},
        stdin=other,
        stdout=other,
        stderr=other,
        start_new_session=True,
    )
    os.close(other)
    shown = b""
    try:
        while shown.count(b"\x1b[J") < 3:
            shown += os.read(main, 4096)
        watch.send_signal(signal.SIGINT)
        assert watch.wait(TIMEOUT_S) == 0
    finally:
        watch.kill()
        watch.wait()
        os.close(main)

    assert b"none runs for" in shown
    assert b"\x1b[4A" in shown or b"\x1b[3A" in shown or b"\x1b[5A" in shown
    assert b"\x1b[1m" not in shown  # movements are no colours
    assert b"Traceback" not in shown


def test_status_and_health_agree_on_an_api_that_goes_and_comes_back(
    workplace: Workplace, api: Api
) -> None:
    with gate_before(api.url) as gate:
        workplace.environment["KERUTA_API_URL"] = gate.url
        workplace.daemon()

        def both() -> tuple[bool, bool]:
            status = json.loads(workplace.run("status", "--json").stdout)
            health = workplace.run("health", "--check-api").returncode == 0
            return not status["daemon"]["api_away"], health

        wait_until(lambda: both() == (True, True), "the API is well for both")
        gate.trouble = lambda passage: passage.answer(502, b"")  # with nothing to report

        wait_until(lambda: both() == (False, False), "the API is away for both")
        assert "502" in workplace.run("status").stdout
        # What waits for the API is sent at once when a poll was answered.
        gate.trouble = None
        wait_until(lambda: both() == (True, True), "the API is well for both")
