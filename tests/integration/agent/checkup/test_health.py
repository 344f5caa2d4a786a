"""The checks behind ``keruta health``, each with its limit."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from keruta_agent.agent.checkup import memory
from keruta_agent.agent.checkup.finding import Finding, Level, room
from keruta_agent.agent.checkup.health import check_health
from keruta_agent.agent.store.jobs import Work
from keruta_agent.agent.store.store import Records
from keruta_agent.core.model import StatusReport, TaskStatus
from keruta_agent.core.settings.sources import load_settings
from tests.helpers.raw_server import raw_server, read_head

HUGE = "9000000GB"


@pytest.fixture
def records(tmp_path: Path) -> Iterator[Records]:
    records = Records.open(tmp_path / "base")
    yield records
    records.close()


def found_by(directory: Path, *wanted: str, **environment: str) -> dict[str, Finding]:
    """Return what health finds for an agent in a directory."""
    variables = {"HOME": str(directory), "KERUTA_BASE_DIR": str(directory / "base"), **environment}
    findings = check_health(lambda: load_settings({}, variables).settings, wanted)
    return {finding.subject: finding for finding in findings}


def make_older(records: Records, table: str, column: str, seconds: float) -> None:
    with records.database.transaction() as connection:
        connection.execute(f"UPDATE {table} SET {column} = {column} - ?", (seconds,))


def test_only_what_was_asked_for_is_checked(tmp_path: Path) -> None:
    assert list(found_by(tmp_path, "disk")) == ["disk"]
    assert list(found_by(tmp_path, "memory", "git")) == ["memory", "git"]
    assert list(found_by(tmp_path)) == ["disk", "memory", "git", "queue", "api"]


def test_wrong_setting_is_a_problem(tmp_path: Path) -> None:
    found = found_by(tmp_path, KERUTA_HEALTH_DISK_FREE_MIN="plenty")
    assert [finding.level for finding in found.values()] == [Level.PROBLEM]
    assert "KERUTA_HEALTH_DISK_FREE_MIN" in found["settings"].text


@pytest.mark.parametrize(
    ("check", "variable"),
    [("disk", "KERUTA_HEALTH_DISK_FREE_MIN"), ("memory", "KERUTA_HEALTH_MEMORY_FREE_MIN")],
)
def test_less_than_the_limit_is_a_problem(tmp_path: Path, check: str, variable: str) -> None:
    enough = found_by(tmp_path, check, **{variable: "1KB"})[check]
    little = found_by(tmp_path, check, **{variable: HUGE})[check]

    assert (enough.level, little.level) == (Level.OK, Level.PROBLEM)
    assert "less than" in little.text
    assert little.advice


@pytest.mark.parametrize(
    ("version", "files"),
    [
        (
            2,
            {
                "memory.max": "1000000",
                "memory.current": "900000",
                "memory.stat": "anon 5\ninactive_file 50000\n",
            },
        ),
        (
            1,
            {
                "memory.limit_in_bytes": "1000000",
                "memory.usage_in_bytes": "900000",
                "memory.stat": "cache 5\ntotal_inactive_file 50000\n",
            },
        ),
    ],
)
def test_memory_is_what_the_limit_of_the_container_leaves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: int, files: dict[str, str]
) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    for name, text in files.items():
        (tmp_path / name).write_text(text, encoding="ascii")
    (inner / "memory.max").write_text("max\n", encoding="ascii")
    monkeypatch.setattr(memory, "group_directories", lambda _: [(version, inner)])

    finding = memory.check_memory(200_000)

    assert finding.level is Level.PROBLEM
    assert "container" in finding.text
    assert memory.check_memory(100_000).level is Level.OK


def test_memory_without_a_limit_is_that_of_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "group_directories", lambda _: [])
    assert "on this machine" in memory.check_memory(0).text


def test_room_is_shown_in_megabytes_below_a_gigabyte() -> None:
    assert (room(3 * 1024**3), room(80 * 1024**2), room(0)) == ("3.0 GB", "80 MB", "0 MB")


def test_git_that_is_missing_is_a_problem_when_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert found_by(tmp_path, "git")["git"].level is Level.OK
    monkeypatch.setenv("PATH", str(tmp_path))

    assert found_by(tmp_path, "git")["git"].level is Level.PROBLEM
    assert found_by(tmp_path)["git"].level is Level.WARNING


def test_git_that_does_not_run_is_a_problem(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise OSError("exec format error")

    monkeypatch.setattr(subprocess, "run", refuse)
    assert found_by(tmp_path, "git")["git"].level is Level.PROBLEM


def test_queue_of_an_agent_that_never_ran_is_fine(tmp_path: Path) -> None:
    found = found_by(tmp_path, "queue")
    assert found["queue"].level is Level.OK
    assert not (tmp_path / "base").exists()


def test_job_that_waits_while_nothing_runs_is_a_problem(tmp_path: Path, records: Records) -> None:
    records.jobs.record_script("job", Work(script="true"))
    assert found_by(tmp_path, "queue")["queue"].level is Level.OK

    make_older(records, "jobs", "recorded_at", 700)
    found = found_by(tmp_path, "queue")["queue"]
    assert found.level is Level.PROBLEM
    assert "11m40s" in found.text
    patient = found_by(tmp_path, "queue", KERUTA_HEALTH_QUEUE_AGE_MAX="1h")["queue"]
    assert patient.level is Level.OK


def test_job_that_waits_for_another_to_end_is_fine(tmp_path: Path, records: Records) -> None:
    for _ in range(2):
        records.jobs.record_script("job", Work(script="true"))
    records.runs.claim_next()
    make_older(records, "jobs", "recorded_at", 7000)

    found = found_by(tmp_path, "queue")["queue"]

    assert (found.level, found.text) == (Level.OK, "1 waiting, 1 running")


def test_queue_that_a_person_paused_is_mentioned(tmp_path: Path, records: Records) -> None:
    records.jobs.record_script("job", Work(script="true"))
    records.jobs.pause("for lunch")
    make_older(records, "jobs", "recorded_at", 7000)

    found = found_by(tmp_path, "queue")["queue"]

    assert found.level is Level.WARNING
    assert "for lunch" in found.text


def test_message_that_waits_for_too_long_is_a_problem(tmp_path: Path, records: Records) -> None:
    report = StatusReport(status=TaskStatus.COMPLETED)
    records.outbox.add_status("t", report, run_id=None, key="k")
    assert found_by(tmp_path, "queue")["outbox"].level is Level.OK

    make_older(records, "outbox", "created_at", 700)
    assert found_by(tmp_path, "queue")["outbox"].level is Level.PROBLEM


def test_database_that_is_damaged_is_a_problem(tmp_path: Path) -> None:
    (tmp_path / "base").mkdir()
    (tmp_path / "base" / "agent.db").write_bytes(b"garbage " * 4096)

    found = found_by(tmp_path, "queue")["queue"]

    assert found.level is Level.PROBLEM
    assert "doctor" in found.advice


def test_api_that_is_not_configured_is_a_problem_when_asked_for(tmp_path: Path) -> None:
    assert found_by(tmp_path)["api"].level is Level.WARNING
    assert found_by(tmp_path, "api")["api"].level is Level.PROBLEM


def test_api_that_says_it_is_unwell_is_a_problem(tmp_path: Path) -> None:
    body = b'{"status": "DOWN", "message": "no database"}'

    def down(connection: socket.socket) -> None:
        read_head(connection)
        head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
        connection.sendall(head.encode() + b"\r\nConnection: close\r\n\r\n" + body)

    with raw_server(down) as url:
        found = found_by(tmp_path, "api", KERUTA_API_URL=url)["api"]

    assert found.level is Level.PROBLEM
    assert "no database" in found.text


def test_api_that_does_not_answer_is_not_waited_for(tmp_path: Path) -> None:
    with raw_server(lambda connection: connection.recv(1 << 20) and connection.recv(1)) as url:
        found = found_by(tmp_path, "api", KERUTA_API_URL=url, KERUTA_HEALTH_API_TIMEOUT="100ms")[
            "api"
        ]

    assert found.level is Level.PROBLEM
    assert "no answer in time" in found.text


def test_token_that_no_header_can_carry_is_a_problem_and_stays_unsaid(tmp_path: Path) -> None:
    found = found_by(
        tmp_path, "api", KERUTA_API_URL="http://127.0.0.1:1", KERUTA_API_TOKEN="geheim\x7f"
    )
    assert "geheim" not in "".join(finding.text for finding in found.values())
    assert [finding.level for finding in found.values()] == [Level.PROBLEM]
