"""``keruta health`` says in a line a check, and by its exit code, whether the agent can work."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path

from tests.helpers.api import Api
from tests.helpers.processes import KERUTA, TIMEOUT_S, Workplace


def test_health_needs_no_daemon_and_no_environment(tmp_path: Path) -> None:
    done = subprocess.run(
        [KERUTA, "health"],
        env={},
        cwd=tmp_path,
        capture_output=True,
        encoding="utf-8",
        timeout=TIMEOUT_S,
        check=False,
    )

    lines = [line.split(None, 2) for line in done.stdout.splitlines()]
    subjects = [subject for _, subject, _ in lines]
    assert [each for each in subjects if each != "outbox"] == [
        "disk",
        "memory",
        "git",
        "queue",
        "api",
    ]
    assert done.returncode == (1 if "FAIL" in done.stdout else 0)
    assert re.search(r"^\S+ +disk +[\d.]+ [GM]B free at /", done.stdout, re.M)
    assert lines[-1][0] == "warn"
    assert done.stderr == ""


def test_health_with_a_daemon_and_an_api_is_good(workplace: Workplace, api: Api) -> None:
    workplace.daemon()

    done = workplace.run("health", "--json")

    assert done.returncode == 0, done.stdout
    shown = json.loads(done.stdout)
    assert shown["healthy"] is True
    assert {check["subject"]: check["level"] for check in shown["checks"]} == {
        "disk": "ok",
        "memory": "ok",
        "git": "ok",
        "queue": "ok",
        "outbox": "ok",
        "api": "ok",
    }


def test_health_of_an_api_that_is_not_there_fails_with_what_to_do(workplace: Workplace) -> None:
    done = workplace.run("health", "--check-api", KERUTA_API_URL="http://127.0.0.1:1")

    assert done.returncode == 1
    (line,) = done.stdout.splitlines()
    assert line.startswith("FAIL api ")
    assert "http://127.0.0.1:1 cannot be reached" in line
    assert "KERUTA_API_URL" in line
