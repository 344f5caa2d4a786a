from __future__ import annotations

import os
import subprocess
import sys

import pytest

from keruta_agent.core.log.keys import secret_names
from keruta_agent.runner.process import Follower
from keruta_agent.runner.reporting import Step


def _follow(grouped: bool) -> list[str]:
    lines: list[str] = []
    follower = Follower(lines.append, grouped=grouped)
    follower.step(Step(name="push", text="pushes x", percent=85))
    follower.line("pushes x")
    follower.line("said by git")
    follower.step(Step(name="end", text="done", percent=100))
    follower.line("done")
    follower.end()
    return lines


def test_person_sees_how_far_it_is() -> None:
    assert _follow(grouped=False) == ["[ 85%] pushes x", "       said by git", "[100%] done"]


def test_log_of_a_task_gets_groups() -> None:
    assert _follow(grouped=True) == [
        *("::group::push", "pushes x", "said by git", "::endgroup::"),
        *("::group::end", "done", "::endgroup::"),
    ]


def test_reader_that_leaves_ends_nothing() -> None:
    calls: list[str] = []

    def write(line: str) -> None:
        calls.append(line)
        raise BrokenPipeError

    follower = Follower(write, grouped=False)
    follower.line("one")
    follower.line("two")

    assert len(calls) == 1


def test_variables_with_secrets_are_found() -> None:
    environment = {
        "OPENAI_API_KEY": "k1-0123456789",
        "MY_PASSWORD": "hunter2hunter2",
        "DATABASE_URL": "postgresql://u:hunter2hunter2@db/x",
        "PATH": "/bin",
        "ODD": "value",
        "EMPTY_TOKEN": "",
    }

    found = secret_names(environment, ["ODD"])

    assert found == ["DATABASE_URL", "MY_PASSWORD", "ODD", "OPENAI_API_KEY"]


_PROGRAM = """
import os, sys
from keruta_agent.core.log import keys
keys.take_back()
keys.put_away()
own = open(f"/proc/{os.getpid()}/environ", "rb").read()
print(os.environ["SECRET_ONE"], b"geheim-123" in own, keys.DESCRIPTOR in os.environ, sys.argv[1:])
"""


@pytest.mark.parametrize(
    "value", ["geheim-123", "geheim-123 値\nzweite"], ids=["one line", "two lines"]
)
def test_process_has_its_key_and_nobody_else_can_read_it(value: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", _PROGRAM, "an argument"],
        env={**os.environ, "SECRET_ONE": value},
        capture_output=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )

    assert done.stdout == f"{value} False False ['an argument']\n", done.stderr
