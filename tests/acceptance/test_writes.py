"""An API that can be read and takes no reports is noticed before a script runs."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.api import Api
from tests.helpers.gate import Gate, Passage, gate_before
from tests.helpers.processes import Workplace

PAGE = b"<html><body>405 Not Allowed</body></html>"


@pytest.fixture
def gate(workplace: Workplace, api: Api) -> Iterator[Gate]:
    with gate_before(api.url) as found:
        workplace.environment["KERUTA_API_URL"] = found.url
        yield found


def _lets_only_reads_pass(passage: Passage) -> bool:
    if passage.command == "GET":
        return False
    return passage.answer(405, PAGE, "text/html")


def test_task_does_not_run_until_reports_arrive(
    workplace: Workplace, api: Api, gate: Gate, tmp_path: Path
) -> None:
    gate.trouble = _lets_only_reads_pass
    mark = tmp_path / "ran"
    task_id = api.file_task(f"touch {mark}")
    daemon = workplace.daemon()
    daemon.wait_for("starts none of the API's tasks")
    # What needs no API runs meanwhile.
    assert workplace.run("execute", "--", "true").returncode == 0

    assert not mark.exists()
    assert api.task(task_id)["status"] == "PENDING"
    assert "no report reaches it" in workplace.run("status").stdout

    gate.trouble = None
    api.wait_for(task_id)

    assert mark.exists()
    assert (daemon.out + daemon.err).count("starts none of the API's tasks") == 1


def test_task_that_an_earlier_daemon_recorded_waits_too(
    workplace: Workplace, api: Api, gate: Gate, tmp_path: Path
) -> None:
    mark = tmp_path / "ran"
    daemon = workplace.daemon()
    workplace.run("queue", "pause")
    task_id = api.file_task(f"touch {mark}")
    daemon.wait_for("recorded task")
    daemon.stop()
    gate.trouble = _lets_only_reads_pass
    workplace.daemon()
    workplace.run("queue", "resume")
    assert workplace.run("execute", "--", "true").returncode == 0

    assert not mark.exists()
    gate.trouble = None
    api.wait_for(task_id)
    assert mark.exists()


def test_health_and_doctor_name_what_keeps_reports_from_the_api(
    workplace: Workplace, gate: Gate
) -> None:
    gate.trouble = _lets_only_reads_pass

    health = workplace.run("health", "--check-api", "--json")
    doctor = workplace.run("doctor", "--json")

    assert (health.returncode, doctor.returncode) == (1, 1)
    (api_finding,) = json.loads(health.stdout)["checks"]
    findings = {one["subject"]: one for one in json.loads(doctor.stdout)["findings"]}
    for finding in (api_finding, findings["writes"]):
        assert finding["level"] == "problem"
        assert "no report reaches it: it is refused before the API (405)" in finding["text"]
        assert "at the proxy" in finding["advice"]


def test_no_test_names_a_running_state(workplace: Workplace, gate: Gate) -> None:
    bodies: list[str] = []

    def listen(passage: Passage) -> bool:
        if passage.command == "PUT":
            bodies.append(passage.path)
        return False

    gate.trouble = listen

    assert workplace.run("health", "--check-api").returncode == 0
    assert workplace.run("doctor").returncode == 0
    assert bodies
    assert all(path.endswith("/status") for path in bodies)


def test_reports_that_stop_arriving_are_noticed_and_none_is_lost(
    workplace: Workplace, api: Api, gate: Gate, tmp_path: Path
) -> None:
    """A proxy was changed while the daemon ran; what it refuses is not what the API refuses."""
    mark, second = tmp_path / "go-on", tmp_path / "second"
    running = api.file_task(
        f"echo begins; keruta progress 40; until [ -e {mark} ]; do sleep 0.05; done; echo last"
    )
    daemon = workplace.daemon()
    api.wait_for(running, "PROCESSING")
    gate.trouble = _lets_only_reads_pass
    later = api.file_task(f"touch {second}")
    mark.touch()
    daemon.wait_for("starts none of the API's tasks")

    status = workplace.run("status")
    health = workplace.run("health", "--check-api")

    assert "no report reaches it" in status.stdout
    assert health.returncode == 1
    assert workplace.run("execute", "--", "true").returncode == 0
    assert not second.exists()
    gate.trouble = None
    assert api.wait_for(running)["status"] == "COMPLETED"
    assert api.wait_for(later)["status"] == "COMPLETED"
    assert second.exists()
    assert "set aside" not in daemon.out + daemon.err
