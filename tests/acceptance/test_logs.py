"""``keruta logs`` and ``keruta log`` as people use them."""

from __future__ import annotations

import json
import os
import pty
import subprocess
import time

import pytest

from tests.helpers.processes import KERUTA
from tests.helpers.waiting import wait_until

SCRIPT = r"""
printf '\033]0;pwned\007\033[31mred\033[0m\n'
echo '{"level":"warn","msg":"slow","ms":3,"a":{"b":1}}'
echo problem >&2
keruta log ERROR "no answer" --field host=db1 --field tries=3
keruta log warning "two
lines"
keruta log debug fine
head -c 70000 /dev/zero | tr '\0' x; echo
"""


@pytest.fixture
def job(workplace) -> str:
    assert workplace.run("execute", SCRIPT).returncode == 0
    return "1"


def shown(workplace, *options: str) -> list[str]:
    return workplace.run("logs", "1", *options).stdout.splitlines()


def test_log_is_shown_plain_in_a_pipe_with_levels_and_fields(workplace, job):
    lines = shown(workplace)
    assert sorted(lines) == sorted(
        [
            "red",
            '[WARN] slow ms=3 a={"b": 1}',
            "problem",
            "[ERROR] no answer host=db1 tries=3",
            "[WARN] two",
            "lines",
            "[DEBUG] fine",
            "x" * 70000,
        ]
    )


def test_log_can_be_narrowed(workplace, job):
    assert shown(workplace, "--level", "error") == ["[ERROR] no answer host=db1 tries=3"]
    assert shown(workplace, "--stream", "stderr") == ["problem"]
    assert shown(workplace, "--stream", "agent", "--tail", "1") == ["[DEBUG] fine"]
    assert shown(workplace, "--tail", "0") == []
    assert len(shown(workplace, "--tail", "99")) == len(shown(workplace))
    assert shown(workplace, "--since", "2999-01-01T00:00:00Z") == []
    assert len(shown(workplace, "--since", "1h")) == len(shown(workplace))
    stamped = shown(workplace, "--stream", "stderr", "--timestamps")
    assert stamped[0].endswith("Z problem") and stamped[0].startswith("20")
    entry = json.loads(shown(workplace, "--json", "--level", "ERROR")[0])
    assert entry["metadata"] == {"host": "db1", "tries": "3"}


def test_tail_and_follow_go_on_from_the_last_lines(workplace):
    workplace.run("execute", "seq 1000")
    assert shown(workplace, "-n", "2", "-f") == ["999", "1000"]


def test_terminal_gets_colours_and_nothing_that_acts_on_it(workplace, job):
    ours, theirs = pty.openpty()
    environment = {**workplace.environment, "TERM": "xterm"}
    environment.pop("NO_COLOR", None)
    with subprocess.Popen(
        [KERUTA, "logs", "1", "--stream", "stdout"],
        stdout=theirs,
        stderr=subprocess.STDOUT,
        env=environment,
    ) as process:
        os.close(theirs)
        output = b""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                output += os.read(ours, 65536)
            except OSError:
                break
        process.wait(10)
    os.close(ours)
    assert b"\x1b[31mred\x1b[0m" in output
    assert b"\x1b]" not in output and b"\x07" not in output


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("log", "LOUD", "x"), "Use one of DEBUG, INFO, WARN, ERROR, FATAL"),
        (("logs", "1", "--level", "loud"), "Use one of DEBUG, INFO, WARN, ERROR, FATAL"),
        (("logs", "1", "--since", "yesterday"), "is no time"),
        (("logs", "1", "--stream", "stdin"), "stdin"),
    ],
)
def test_invalid_input_is_refused(workplace, arguments, complaint):
    refused = workplace.run(*arguments)
    assert refused.returncode == 2
    assert complaint in refused.stderr
    assert "Traceback" not in refused.stderr


def test_lines_arrive_while_the_script_runs_in_order_and_all_of_them(workplace, api):
    """The script goes on only when its line has been read at the server."""
    go = workplace.path / "go"
    task_id = api.file_task(
        f"for n in 1 2 3; do echo line $n; while [ ! -e {go}-$n ]; do sleep .02; done; done;"
        "seq 5000; printf 'no newline'"
    )
    workplace.daemon()
    for number in (1, 2, 3):
        wanted = [f"line {n}" for n in range(1, number + 1)]
        wait_until(lambda wanted=wanted: api.lines(task_id) == wanted, "the line can be read")
        assert api.task(task_id)["status"] == "PROCESSING"
        (workplace.path / f"go-{number}").touch()
    assert api.wait_for(task_id)["status"] == "COMPLETED"
    numbers = [str(number) for number in range(1, 5001)]
    assert api.lines(task_id) == ["line 1", "line 2", "line 3", *numbers, "no newline"]


def test_structured_and_grouped_lines_are_stored_by_the_server(workplace, api):
    task_id = api.file_task(
        'echo ::group::Build; echo \'{"level":"error","msg":"oh","n":1}\';'
        "keruta log WARN told --field k=v; printf '1%%\\r2%%\\n'"
    )
    workplace.daemon()
    assert api.wait_for(task_id)["status"] == "COMPLETED"
    found = {entry["message"]: (entry["level"], entry["metadata"]) for entry in api.logs(task_id)}
    group = {"keruta": {"group": "Build"}}
    assert found["oh"] == ("ERROR", {**group, "n": 1})
    assert found["told"] == ("WARN", {**group, "k": "v"}) or found["told"] == ("WARN", {"k": "v"})
    assert found["2%"] == ("INFO", group)
