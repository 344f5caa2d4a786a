"""The tasks of a soak: reproducible, of every kind, and scripts that a shell can read."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from keruta_agent.soak.evidence import leftovers
from keruta_agent.soak.evidence.script_record import ScriptRecord
from keruta_agent.soak.soak_tasks import COMPLETED, plan_task
from tests.helpers.waiting import wait_until


def test_same_seed_gives_the_same_tasks_and_another_seed_others() -> None:
    first = [plan_task(1, number, Path("/record")) for number in range(50)]

    assert first == [plan_task(1, number, Path("/record")) for number in range(50)]
    assert first != [plan_task(2, number, Path("/record")) for number in range(50)]


def test_a_few_hundred_tasks_end_in_every_way() -> None:
    tasks = [plan_task(1, number, Path("/record")) for number in range(300)]
    codes = {task.end[1].rstrip("0123456789") for task in tasks}

    assert codes == {
        *("", "EXIT_", "SIGNAL_", "NO_DISK", "TIMED_OUT", "CANCELLED", "NOT_STARTED"),
    }
    assert {task.runs for task in tasks} == {0, 1, 2, 3, 4}
    assert any(task.leaves for task in tasks)


def test_every_script_can_be_read_by_the_shell() -> None:
    scripts = "\n".join(
        f"task{number}() {{\n{plan_task(1, number, Path('/led ger')).script}\n}}"
        for number in range(200)
        if plan_task(1, number, Path("/record")).runs
    )

    done = subprocess.run(
        ["bash", "-n"], input=scripts, text=True, capture_output=True, check=False
    )

    assert done.returncode == 0, done.stderr


def test_script_notes_in_its_ledger_exactly_what_it_writes(tmp_path: Path) -> None:
    for number in range(12):
        task = plan_task(3, number, tmp_path / "script-records")
        if task.end != COMPLETED or task.runs != 1 or task.leaves:
            continue
        (tmp_path / "script-records" / task.name).mkdir(parents=True)
        done = subprocess.run(
            ["bash", "-c", f"keruta() {{ :; }}\n{task.script}"],
            env={
                "PATH": os.environ["PATH"],
                "KERUTA_RUN_NUMBER": "1",
                "KERUTA_RUN_DIR": str(tmp_path / "agent" / "runs" / "1"),
                "KERUTA_WORKING_DIR": str(tmp_path),
                "KERUTA_ARTIFACTS_DIR": str(tmp_path / "artifacts"),
            },
            capture_output=True,
            check=False,
        )
        record = ScriptRecord(tmp_path / "script-records" / task.name)

        assert done.returncode == 0
        assert dict(record.starts) == {1: 1}
        assert record.overlaps == []
        assert record.output("stdout", 1) == done.stdout
        assert record.output("stderr", 1) == done.stderr
        stored = {path.relative_to(tmp_path / "artifacts") for path, _ in _files(tmp_path)}
        assert {Path(path) for path, _ in record.artifacts} <= stored


def _files(tmp_path: Path) -> list[tuple[Path, int]]:
    root = tmp_path / "artifacts"
    return [(path, path.stat().st_size) for path in root.rglob("*") if path.is_file()]


def test_processes_of_a_task_are_found_by_their_marker_or_their_words(tmp_path: Path) -> None:
    marked = {**os.environ, "KERUTA_TASK_ID": f"task-of-{tmp_path}"}
    with (
        subprocess.Popen(["sleep", "60"], env=marked) as first,
        subprocess.Popen(["sh", "-c", "sleep 60; :", str(tmp_path)]) as second,
    ):
        try:
            pids = {first.pid, second.pid}
            wait_until(
                lambda: set(leftovers.of_task(f"task-of-{tmp_path}", tmp_path)) == pids,
                "both are found",
            )
        finally:
            subprocess.run(["pkill", "-P", str(second.pid)], check=False)
            first.kill()
            second.kill()

    assert leftovers.of_task(f"task-of-{tmp_path}", tmp_path) == []
