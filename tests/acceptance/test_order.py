"""A session's tasks run one at a time, the most urgent first and then the oldest."""

from __future__ import annotations

import random
from pathlib import Path

from tests.helpers.api import Api
from tests.helpers.processes import Workplace

#: Fails with a code of its own when another script is inside at the same moment.
_ALONE = """\
mkdir {place}/lock || exit 99
trap 'rmdir {place}/lock' EXIT
echo {name} >> {place}/started
sleep {pause}
{body}
"""

#: Ways to end, with the state that the API is to hold then.
_BODIES = {
    "true": "COMPLETED",
    "echo one; echo two >&2; echo three": "COMPLETED",
    "keruta progress 50; keruta success --message done": "COMPLETED",
    "keruta log WARN careful": "COMPLETED",
    "exit 7": "FAILED",
    "keruta fail --message no --error-code NO": "FAILED",
    "echo bad >&2; false": "FAILED",
}


def _alone(place: Path, name: str, *, body: str = "true", pause: float = 0.0) -> str:
    """Return a script that proves that no other one runs while it does."""
    return _ALONE.format(place=place, name=name, body=body, pause=pause)


def _started(place: Path) -> list[str]:
    file = place / "started"
    return file.read_text(encoding="utf-8").split() if file.exists() else []


def test_sixteen_mixed_tasks_run_alone_by_priority_then_age_and_end_as_they_should(
    workplace: Workplace, api: Api, tmp_path: Path
) -> None:
    chosen = random.Random(20260101)
    filed = []
    for number in range(16):
        body = chosen.choice(list(_BODIES))
        priority = chosen.randint(-2, 3)
        script = _alone(tmp_path, f"t{number}", body=body, pause=chosen.choice([0, 0.01, 0.03]))
        filed.append((f"t{number}", body, priority, api.file_task(script, priority=priority)))

    daemon = workplace.daemon()
    api.wait_for_all([task_id for *_, task_id in filed])
    api.end_session()

    assert daemon.wait() == 0
    by_urgency = sorted(filed, key=lambda task: -task[2])  # stable: the age decides the rest
    assert _started(tmp_path) == [name for name, *_ in by_urgency]
    found = {task["id"]: (task["status"], task["errorCode"]) for task in api.tasks()}
    codes = {"exit 7": "EXIT_7", "echo bad >&2; false": "EXIT_1"}
    for name, body, _, task_id in filed:
        code = codes.get(body, "NO" if "fail" in body else "")
        assert found[task_id] == (_BODIES[body], code), name


def test_urgent_task_filed_later_runs_before_those_that_wait(
    workplace: Workplace, api: Api, tmp_path: Path
) -> None:
    hold = f"while [ ! -e {tmp_path}/go ]; do sleep 0.02; done"
    first = api.file_task(_alone(tmp_path, "first", body=hold))
    daemon = workplace.daemon()
    api.wait_for(first, "PROCESSING")
    later = [
        api.file_task(_alone(tmp_path, "ordinary")),
        api.file_task(_alone(tmp_path, "urgent"), priority=5),
        api.file_task(_alone(tmp_path, "unimportant"), priority=-5),
    ]
    for task_id in later:
        daemon.wait_for(f"recorded task {task_id}")

    (tmp_path / "go").touch()
    api.wait_for_all([first, *later])

    assert _started(tmp_path) == ["first", "urgent", "ordinary", "unimportant"]


def test_tasks_that_were_recorded_run_in_order_after_a_restart(
    workplace: Workplace, api: Api, tmp_path: Path
) -> None:
    hold = f"while [ ! -e {tmp_path}/go ]; do sleep 0.02; done"
    tasks = [api.file_task(_alone(tmp_path, "first", body=hold), priority=9)]
    daemon = workplace.daemon()
    api.wait_for(tasks[0], "PROCESSING")
    for number, priority in enumerate([0, 3, 0, 3, 1]):
        tasks.append(api.file_task(_alone(tmp_path, f"t{number}"), priority=priority))
    for task_id in tasks:
        daemon.wait_for(f"recorded task {task_id}")
    daemon.kill()
    workplace.daemon()

    (tmp_path / "go").touch()
    api.wait_for_all(tasks)

    assert _started(tmp_path) == ["first", "t1", "t3", "t4", "t0", "t2"]
