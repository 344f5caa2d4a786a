"""keruta execute: a person's own scripts in the agent's queue."""

from __future__ import annotations

import json
import signal
import subprocess
from pathlib import Path

import pytest

from keruta_agent.agent.control.socket.address import socket_path
from tests.helpers.api import Api
from tests.helpers.processes import KERUTA, Workplace, is_alive
from tests.helpers.waiting import wait_until

_SPEAKING = """\
#!/bin/sh
echo "引数: $# [$1] [$2]"
echo "エラー出力" >&2
printf 'no newline'
exit 42
"""


@pytest.mark.parametrize("with_daemon", [True, False])
def test_execute_is_like_running_the_script_oneself(
    workplace: Workplace, with_daemon: bool
) -> None:
    script = workplace.write_script("日本語 の/スクリプト.sh", _SPEAKING)
    if with_daemon:
        workplace.daemon()

    done = workplace.run("execute", str(script), "one two", "--three")

    assert done.returncode == 42
    assert done.stdout == "引数: 2 [one two] [--three]\nno newline"
    assert done.stderr == "エラー出力\n"


@pytest.mark.parametrize(
    ("arguments", "out", "code"),
    [
        (["pwd; exit 3"], "{cwd}\n", 3),
        (["kill -9 $$"], "", 137),
        (["sh", "-c", 'echo "$0" "$1"', "x  y", "z"], "x  y z\n", 0),
        (["./plain.sh"], "plain\n", 0),
        (['echo "$MINE$KERUTA_API_TOKEN"'], "\n", 0),
    ],
)
def test_execute_understands_commands_and_command_lines(
    workplace: Workplace, arguments: list[str], out: str, code: int
) -> None:
    (workplace.path / "plain.sh").write_text("echo plain\n", encoding="utf-8")

    done = workplace.run("execute", *arguments, MINE="hidden", KERUTA_API_TOKEN="hidden")

    assert (done.returncode, done.stdout) == (code, out.format(cwd=workplace.path))


@pytest.mark.parametrize(
    "command", [[b"printf \x82\xa0; exit 4"], [b"sh", b"-c", b'printf "$0"; exit 4', b"\x82\xa0"]]
)
def test_execute_passes_bytes_on_that_are_no_utf_8(
    workplace: Workplace, command: list[bytes]
) -> None:
    done = subprocess.run(
        [KERUTA, "execute", *command], env=workplace.environment, capture_output=True, check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (4, b"\x82\xa0", b"")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "there is nothing to execute"),
        (["./missing.sh"], "neither a file nor a program"),
        (["no-such-program"], "neither a file nor a program"),
        (["."], "is a directory"),
        (["./binary"], "binary data"),
    ],
)
def test_execute_refuses_what_is_no_script_with_one_line(
    workplace: Workplace, arguments: list[str], complaint: str
) -> None:
    (workplace.path / "binary").write_bytes(b"\x7fELF\0\0\1")

    done = workplace.run("execute", *arguments)

    assert done.returncode == 2
    assert complaint in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "Traceback" not in done.stderr


def test_executable_script_from_windows_is_started_by_its_interpreter(workplace: Workplace) -> None:
    script = workplace.write_script(
        "from-windows.py", "\ufeff#!/usr/bin/env python3\r\nprint(1)\r\n"
    )

    done = workplace.run("execute", str(script))

    assert (done.returncode, done.stdout) == (0, "1\n"), done.stderr


def test_shell_script_with_windows_line_ends_is_refused_with_what_helps(
    workplace: Workplace,
) -> None:
    script = workplace.write_script("from-windows.sh", "#!/usr/bin/env bash\r\nset -e\r\n")

    done = workplace.run("execute", str(script))

    assert done.returncode == 2
    assert "CRLF" in done.stderr and f"sed -i 's/\\r$//' {script}" in done.stderr


def test_carriage_returns_that_a_script_means_stay_as_they_are(workplace: Workplace) -> None:
    line = "tr '\\r' R <<'E'\nGET / HTTP/1.0\r\n\r\nE\n"

    done = workplace.run("execute", line)

    assert done.returncode == 0
    assert "GET / HTTP/1.0R\nR\n" in done.stdout


def test_execute_with_detach_prints_the_id_of_a_job_that_runs_by_itself(
    workplace: Workplace,
) -> None:
    workplace.daemon()

    detached = workplace.run("execute", "--detach", "echo detached; exit 4")

    assert detached.returncode == 0
    job = str(int(detached.stdout))
    followed = workplace.run("logs", "-f", job)
    assert (followed.returncode, followed.stdout) == (0, "detached\n")
    assert "exited with code 4" in workplace.run("queue", "show", job).stdout


def test_job_detached_without_a_daemon_waits_for_the_next_one(workplace: Workplace) -> None:
    detached = workplace.run("execute", "--detach", "echo later")
    job = detached.stdout.strip()
    assert "waits for the next one" in detached.stderr

    workplace.daemon()

    assert workplace.run("logs", "-f", job).stdout == "later\n"


def test_second_execute_without_a_daemon_waits_for_the_first(
    workplace: Workplace, tmp_path: Path
) -> None:
    order = tmp_path / "order"
    hold = f"echo first; while [ ! -e {tmp_path}/go ]; do sleep 0.02; done"
    first = workplace.start("execute", f"{hold}; echo first >> {order}")
    first.wait_for("first")
    second = workplace.start("execute", f"echo second >> {order}")
    second.wait_for("waits for the agent that runs here now")

    (tmp_path / "go").touch()

    assert (first.wait(), second.wait()) == (0, 0)
    assert order.read_text(encoding="ascii") == "first\nsecond\n"


def test_execute_waits_its_turn_behind_a_task(
    workplace: Workplace, api: Api, tmp_path: Path
) -> None:
    task_id = api.file_task(
        f"while [ ! -e {tmp_path}/go ]; do sleep 0.02; done; touch {tmp_path}/over"
    )
    workplace.daemon()
    api.wait_for(task_id, "PROCESSING")
    ad_hoc = workplace.start("execute", f"test -e {tmp_path}/over")
    ad_hoc.wait_for("keruta: queued as job 2, behind job 1\n")
    third = workplace.start("execute", "echo third")
    third.wait_for("keruta: queued as job 3, behind job 1 and 1 more\n")

    (tmp_path / "go").touch()

    assert ad_hoc.wait() == 0
    assert third.wait() == 0
    assert third.out == "third\n"


def test_execute_says_that_the_queue_is_paused(workplace: Workplace) -> None:
    workplace.daemon()
    workplace.run("queue", "pause", "--reason", "the disk is being replaced")
    waiting = workplace.start("execute", "true")

    waiting.wait_for("the queue is paused: the disk is being replaced")

    workplace.run("queue", "resume")
    assert waiting.wait() == 0


@pytest.mark.parametrize("with_daemon", [True, False])
def test_execute_runs_the_script_of_the_task_that_is_named(
    workplace: Workplace, api: Api, with_daemon: bool
) -> None:
    task_id = api.file_task("echo task $KERUTA_TASK_ID; exit 6")
    if with_daemon:
        workplace.daemon(KERUTA_POLL_INTERVAL="1h")

    done = workplace.run("execute", "--task-id", task_id)

    assert (done.returncode, done.stdout) == (6, f"task {task_id}\n")
    task = api.wait_for(task_id)
    assert (task["status"], task["errorCode"]) == ("FAILED", "EXIT_6")
    assert api.lines(task_id) == [f"task {task_id}"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("with_daemon", [True, False])
def test_ctrl_c_and_sigterm_cancel_the_job_and_its_processes(
    workplace: Workplace, with_daemon: bool, number: signal.Signals
) -> None:
    if with_daemon:
        workplace.daemon()
    attached = workplace.start("execute", "echo $$; echo 'the last line' >&2; exec sleep 300")
    wait_until(lambda: attached.out.endswith("\n"), "the script runs")

    attached.signal(number)

    assert attached.wait() == 128 + number
    assert "cancels job 1" in attached.err
    assert not is_alive(int(attached.out))
    shown = workplace.run("queue", "show", "1", "--json").stdout
    # Who cancelled it, and not what the script happened to say last.
    message = json.loads(shown)["message"]
    assert ("Ctrl-C" if number == signal.SIGINT else "SIGTERM") in message
    assert "the last line" not in message


def test_execute_that_gets_sigterm_before_it_has_a_job_ends_without_one(
    workplace: Workplace,
) -> None:
    first = workplace.start("execute", "echo begun; exec sleep 300")
    first.wait_for("begun")
    second = workplace.start("execute", "true")
    second.wait_for("waits for the agent that runs here now")

    second.signal(signal.SIGTERM)

    assert second.wait() == 128 + signal.SIGTERM
    assert first.running
    first.signal(signal.SIGTERM)
    assert first.wait() == 128 + signal.SIGTERM


def test_job_of_an_execute_that_is_killed_is_adopted_by_a_daemon(
    workplace: Workplace, tmp_path: Path
) -> None:
    hold = f"while [ ! -e {tmp_path}/go ]; do sleep 0.02; done"
    attached = workplace.start("execute", f"echo run >> {tmp_path}/counter; {hold}; echo end")
    wait_until((tmp_path / "counter").exists, "the script runs")

    attached.kill()
    workplace.daemon()
    (tmp_path / "go").touch()

    assert workplace.run("logs", "-f", "1").stdout == "end\n"
    assert (tmp_path / "counter").read_text(encoding="ascii") == "run\n"
    assert '"outcome": "succeeded"' in workplace.run("queue", "show", "1", "--json").stdout


def test_script_that_would_wait_for_its_own_agent_is_refused_and_may_hand_in_detached(
    workplace: Workplace, tmp_path: Path
) -> None:
    workplace.daemon()
    inner = f"KERUTA_BASE_DIR={workplace.base_dir} keruta execute"

    done = workplace.run(
        "execute", f"{inner} true; echo $?; {inner} --detach 'touch {tmp_path}/second'"
    )

    assert (done.returncode, done.stdout) == (0, "2\n2\n")
    assert "--detach" in done.stderr
    wait_until((tmp_path / "second").exists, "the job that was handed in has run")


def test_base_directory_with_a_long_path_and_spaces_works(workplace: Workplace, api: Api) -> None:
    base_dir = workplace.path / "とても長い 道" / ("x" * 120)
    workplace.environment["KERUTA_BASE_DIR"] = str(base_dir)
    task_id = api.file_task("keruta log INFO 届いた; command -v keruta")
    daemon = workplace.daemon()

    assert api.wait_for(task_id)["status"] == "COMPLETED"
    assert api.lines(task_id, "agent") == ["届いた"]
    assert api.lines(task_id) == [str(base_dir / "bin" / "keruta")]
    assert workplace.run("execute", "echo hi").stdout == "hi\n"
    assert daemon.stop() == 0
    # This path is too long for the kernel, which gets it through its directory.
    assert not socket_path(base_dir).exists()


def test_job_is_named_by_its_script_as_it_was_typed(workplace: Workplace) -> None:
    workplace.run("execute", "trap 'exit 3' TERM; true")
    workplace.run("execute", "printf", "%s", "two words")

    listed = json.loads(workplace.run("queue", "list", "--all", "--json").stdout)
    assert sorted(job["name"] for job in listed) == [
        "printf %s 'two words'",
        "trap 'exit 3' TERM; true",
    ]
