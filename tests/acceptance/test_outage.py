"""An API that is away delays reports, and loses none of them."""

from __future__ import annotations

from pathlib import Path

from tests.helpers.api import Api
from tests.helpers.gate import gate_before
from tests.helpers.processes import Process, Workplace
from tests.helpers.waiting import wait_until


def _pending(workplace: Workplace) -> int:
    said = workplace.run("config", "show").stdout
    return int(said.rpartition("for the API: ")[2].split()[0])


_SCRIPT = """\
echo run >> {place}/counter
for line in 1 2 3; do echo "before $line"; done
keruta progress 30 --message early
while [ ! -e {place}/go ]; do sleep 0.02; done
for line in 1 2 3; do echo "during $line"; done
keruta progress 60 --message late
echo data > "$KERUTA_ARTIFACTS_DIR/result.txt"
keruta success --message done
"""


def test_task_that_ends_while_the_api_is_down_is_reported_in_order_when_it_is_back(
    workplace: Workplace, mortal_api: tuple[Process, Api], tmp_path: Path
) -> None:
    server, api = mortal_api
    task_id = api.file_task(_SCRIPT.format(place=tmp_path))
    daemon = workplace.daemon()
    wait_until(lambda: len(api.lines(task_id)) == 3, "the first half is stored")
    server.stop()

    (tmp_path / "go").touch()
    daemon.wait_for("job 1 ended: succeeded")
    assert _pending(workplace) > 0
    daemon.kill()
    workplace.daemon()
    workplace.server(api.port)

    task = api.wait_for(task_id)
    assert (task["status"], task["message"], task["progress"]) == ("COMPLETED", "done", 100)
    expected = [f"{when} {line}" for when in ("before", "during") for line in (1, 2, 3)]
    assert api.lines(task_id) == expected
    assert [artifact["path"] for artifact in api.artifacts(task_id)] == ["result.txt"]
    assert (tmp_path / "counter").read_text(encoding="ascii") == "run\n"
    wait_until(lambda: _pending(workplace) == 0, "all is sent")


def test_api_killed_while_a_task_runs_gets_every_line_once(
    workplace: Workplace, mortal_api: tuple[Process, Api], tmp_path: Path
) -> None:
    server, api = mortal_api
    task_id = api.file_task(
        "for number in $(seq 200); do echo $number; sleep 0.005; done\n"
        f"while [ ! -e {tmp_path}/go ]; do sleep 0.02; done"
    )
    workplace.daemon()
    wait_until(lambda: len(api.lines(task_id)) > 20, "some lines are stored")

    server.kill()
    server, _ = workplace.server(api.port)
    wait_until(lambda: len(api.lines(task_id)) > 60, "reports arrive again")
    server.kill()
    workplace.server(api.port)
    (tmp_path / "go").touch()

    assert api.wait_for(task_id)["status"] == "COMPLETED"
    assert api.lines(task_id) == [str(number) for number in range(1, 201)]


def test_daemon_started_while_the_api_is_down_goes_on_trying(
    workplace: Workplace, mortal_api: tuple[Process, Api]
) -> None:
    server, api = mortal_api
    task_id = api.file_task("echo at last")
    server.stop()

    daemon = workplace.daemon()
    daemon.wait_for("goes on trying")
    workplace.server(api.port)

    assert api.wait_for(task_id)["status"] == "COMPLETED"
    assert api.lines(task_id) == ["at last"]
    assert "Traceback" not in daemon.err


def test_daemon_that_is_stopped_while_the_api_is_down_says_what_it_keeps(
    workplace: Workplace, mortal_api: tuple[Process, Api]
) -> None:
    server, api = mortal_api
    task_id = api.file_task("keruta log INFO kept; echo end")
    daemon = workplace.daemon(KERUTA_SESSION_ID=api.session_id)
    api.wait_for(task_id, "COMPLETED")
    server.stop()
    assert workplace.run("execute", "echo ad-hoc").stdout == "ad-hoc\n"

    reported = workplace.run("log", "INFO", "afterwards", "--task-id", task_id)
    assert (reported.returncode, daemon.stop()) == (0, 0)
    assert "is kept and sent later" in reported.stderr
    assert "1 messages could not be sent" in daemon.err

    workplace.server(api.port)
    workplace.daemon()
    wait_until(lambda: api.lines(task_id, "agent") == ["kept", "afterwards"], "it is sent later")


def test_daemon_started_while_the_api_takes_requests_and_never_answers_follows_what_runs(
    workplace: Workplace, api: Api, tmp_path: Path
) -> None:
    script = f"touch {tmp_path}/begun; sleep 300"
    limited = api.file_task(script, parameters={"timeout": "1s"})
    with gate_before(api.url) as gate:
        first = workplace.daemon(KERUTA_API_URL=gate.url)
        wait_until((tmp_path / "begun").exists, "the script runs")
        gate.trouble = gate.hang
        first.kill()

        # Each request may take longer than the test waits.
        second = workplace.daemon(KERUTA_API_URL=gate.url, KERUTA_TIMEOUT="1h")
        second.wait_for("job 1 ended: timed_out")
        second.kill()
    workplace.daemon()
    assert api.wait_for(limited)["errorCode"] == "TIMED_OUT"
