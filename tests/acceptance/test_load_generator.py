"""``python -m benchmarks.server_load`` against the installed keruta, in sizes of seconds."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.helpers.processes import KERUTA

ROOT = Path(__file__).parents[2]
TEAM = ("--agents", "4", "--interval", "0.2", "--seconds", "0.6")


def measure(*arguments: str) -> dict[str, float]:
    """Return the figures of the only run of the only server."""
    command = [sys.executable, "-m", "benchmarks.server_load", *arguments]
    done = subprocess.run(
        [*command, "--keruta", KERUTA, "--repeats", "1", "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    (server,) = json.loads(done.stdout)["servers"]
    (figures,) = server["runs"]
    return dict(figures)


def test_agents_poll_and_hold_streams() -> None:
    figures = measure("poll", *TEAM)
    assert figures["failed"] == 0
    assert (figures["streams open"], figures["streams refused"]) == (4, 0)
    assert figures["session p99 ms"] > 0 and figures["pending p99 ms"] > 0
    assert figures["server RSS MB"] > 0


def test_agents_write_and_their_streams_hear_of_it() -> None:
    figures = measure("write", *TEAM, "--lines", "20")
    assert figures["failed"] == 0
    assert figures["requests"] % 3 == 0 and figures["requests"] >= 12
    assert figures["events/s"] > 0


def test_each_write_is_heard_in_its_stream() -> None:
    figures = measure("delivery", "--agents", "4", "--interval", "0.05", "--seconds", "0.6")
    assert (figures["failed"], figures["never heard"]) == (0, 0)
    assert figures["from sending p50 ms"] > 0


def test_hot_routes_answer_one_by_one_and_without_rest() -> None:
    alone = measure("cpu", "--number", "5")
    assert {name for name in alone if name.endswith("CPU ms")} >= {
        "poll CPU ms",
        "status CPU ms",
        "500 log lines CPU ms",
    }
    at_once = measure("closed", "--connections", "3", "--seconds", "0.2")
    assert at_once["mix requests/s"] > 0
    assert [at_once[f"{kind} failed"] for kind in ("session", "pending", "mix")] == [0, 0, 0]


def test_start_lasts_from_the_program_to_its_first_answer() -> None:
    figures = measure("start", "--rest", "0")
    assert 0 < figures["until listening ms"] < figures["until answered ms"]


def test_lists_are_read_from_a_database_that_was_filled_directly() -> None:
    figures = measure("lists", "--tasks", "300", "--lines", "1000")
    assert not [name for name in figures if "refused" in name]
    assert figures["10,000 lines kB"] > 100
    assert figures["newest lines of a quiet task kB"] > 10


def test_server_that_does_not_start_is_told_with_its_reason(tmp_path: Path) -> None:
    broken = tmp_path / "keruta"
    broken.write_text("#!/bin/sh\necho out of order >&2\nexit 3\n")
    broken.chmod(0o755)
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.server_load", "start", "--keruta", str(broken)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode != 0
    assert f"{broken} does not listen: out of order" in done.stderr


def test_two_servers_stand_side_by_side_in_the_table() -> None:
    command = [sys.executable, "-m", "benchmarks.server_load", "start", "--rest", "0"]
    done = subprocess.run(
        [*command, "--keruta", KERUTA, "--keruta", KERUTA, "--repeats", "1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    assert "ratio" in done.stdout.splitlines()[0]
    assert "scenario: start" in done.stdout and f"B: {KERUTA}" in done.stdout
