"""Failed tasks that are tried again, and what people can do with the queue meanwhile."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from tests.helpers.api import Api
from tests.helpers.processes import Workplace
from tests.helpers.waiting import wait_until


def _hold(place: Path) -> str:
    return f"while [ ! -e {place}/go ]; do sleep 0.02; done"


def _in_order(story: str, *sentences: str) -> bool:
    """Return whether the sentences are in the story, one after the other."""
    place = 0
    for sentence in sentences:
        place = story.find(sentence, place)
        if place < 0:
            return False
        place += len(sentence)
    return True


def test_failed_tasks_are_tried_again_in_their_order_and_explained(
    workplace: Workplace, api: Api, tmp_path: Path
) -> None:
    trace = f'echo "$KERUTA_TASK_ID $KERUTA_RUN_NUMBER" >> {tmp_path}/order'
    flaky = api.file_task(f'{trace}; echo "try $KERUTA_RUN_NUMBER"; [ $KERUTA_RUN_NUMBER = 3 ]')
    picky = api.file_task(
        f"{trace}; exit 3", parameters={"retry": {"count": 5, "on": ["exit:75", "lost"]}}
    )
    hopeless = api.file_task(f"{trace}; exit 75", parameters={"retry": {"count": 1, "delay": 0}})
    wrong = api.file_task(f"{trace}; exit 75", parameters={"retry": {"count": "often"}})
    reported = api.file_task(f"{trace}; keruta fail --message 'no use'")
    tasks = [flaky, picky, hopeless, wrong, reported]
    workplace.daemon(KERUTA_RETRY_COUNT="2", KERUTA_RETRY_DELAY="0s")
    api.wait_for_all(tasks)

    runs = (tmp_path / "order").read_text(encoding="ascii").splitlines()
    # A retry runs before what is younger.
    assert runs == [
        *(f"{flaky} {number}" for number in (1, 2, 3)),
        f"{picky} 1",
        *(f"{hopeless} {number}" for number in (1, 2)),
        f"{wrong} 1",
        f"{reported} 1",
    ]
    ends = [(api.task(task)["status"], api.task(task)["errorCode"]) for task in tasks]
    assert [end[0] for end in ends] == ["COMPLETED", *["FAILED"] * 4]
    assert [end[1] for end in ends[1:4]] == ["EXIT_3", "EXIT_75", "EXIT_75"]
    assert api.lines(flaky) == ["try 1", "try 2", "try 3"]
    assert api.lines(flaky, "agent") == [
        "The run failed; the task is tried up to 2 times more, first in 0s. "
        "To stop that: KERUTA_RETRY_COUNT=0, or parameters.retry: 0 of a task",
        "Run 2 of the task begins",
        "Run 3 of the task begins",
    ]
    assert api.lines(hopeless, "agent")[0].endswith("To stop that: parameters.retry: 0 of the task")

    story = workplace.run("explain", flaky).stdout
    assert _in_order(
        story,
        "run 1  Its turn came.",
        "began to start the script and look after it.",
        "run 1  The run ended: failed. The script exited with code 1: try 1",
        "run 1  It is tried again after 0.0 s; 1 retry is left.",
        "run 2  It is tried again after 0.0 s; 0 retries are left.",
        "run 3  The run ended: succeeded.",
        "It has ended: succeeded.",
    ), story
    assert "Its retry rule is invalid: retry.count must be" in (
        workplace.run("explain", wrong).stdout
    )
    shown = json.loads(workplace.run("explain", flaky, "--json").stdout)
    assert [event["action"] for event in shown].count("retry") == 2


def test_fix_of_a_failed_task_is_not_tried_again_by_its_rule(
    workplace: Workplace, api: Api, tmp_path: Path
) -> None:
    inherited = {"autoFix": True, "fixCount": 1, "retry": {"count": 5, "delay": 0}}
    fixes = [
        api.file_task(f"echo run >> {tmp_path}/{number}; exit 1", parameters=parameters)
        for number, parameters in enumerate([{"autoFix": True}, inherited])
    ]
    workplace.daemon(KERUTA_RETRY_COUNT="3", KERUTA_RETRY_DELAY="0s")
    api.wait_for_all(fixes)
    assert [(tmp_path / name).read_text(encoding="ascii") for name in "01"] == ["run\n", "run\n"]


def test_retry_that_is_due_while_no_daemon_runs_is_made_by_the_next_one(
    workplace: Workplace, api: Api, tmp_path: Path
) -> None:
    task_id = api.file_task(
        "[ $KERUTA_RUN_NUMBER = 2 ]", parameters={"retry": {"count": 1, "delay": "2s"}}
    )
    daemon = workplace.daemon()
    daemon.wait_for("is tried again in")
    daemon.kill()
    assert "It waits for its next try, due in" in workplace.run("explain", task_id).stdout
    assert api.task(task_id)["status"] == "PROCESSING"

    workplace.daemon()

    assert api.wait_for(task_id)["status"] == "COMPLETED"


def test_lost_run_is_tried_again_once_its_last_process_is_gone(
    workplace: Workplace, api: Api, tmp_path: Path
) -> None:
    task_id = api.file_task(
        f"state=$(grep -s ^State: /proc/$(cat {tmp_path}/pid)/status)\n"
        # A zombie has ended; nobody may have collected it yet.
        '[ $KERUTA_RUN_NUMBER = 2 ] && [[ "$state" =~ ^(|.*\\(zombie\\))$ ]] && exit\n'
        f"(trap '' TERM; echo $BASHPID > {tmp_path}/pid; while :; do sleep 1; done) & wait",
        parameters={"retry": {"count": 1, "on": ["lost"], "delay": 0}},
    )
    workplace.daemon()
    wait_until(lambda: (tmp_path / "pid").exists(), "the stubborn child is there")
    [directory] = workplace.run_directories()
    os.kill(int((directory / "identity").read_text(encoding="ascii").split()[0]), signal.SIGKILL)

    assert api.wait_for(task_id)["status"] == "COMPLETED"
    assert "The run ended: lost." in workplace.run("explain", task_id).stdout


def test_task_that_waits_for_its_next_try_can_be_cancelled(workplace: Workplace, api: Api) -> None:
    task_id = api.file_task("exit 1", parameters={"retry": {"count": 1, "delay": "1h"}})
    daemon = workplace.daemon()
    daemon.wait_for("is tried again in")

    done = workplace.run("queue", "cancel", task_id, "--json")

    assert json.loads(done.stdout) == {"job": 1, "was": "scheduled"}
    task = api.wait_for(task_id)
    assert (task["status"], task["errorCode"]) == ("FAILED", "CANCELLED")
    assert "It has ended: cancelled." in workplace.run("explain", task_id).stdout


def test_paused_queue_finishes_what_runs_and_starts_nothing_until_it_goes_on(
    workplace: Workplace, api: Api, tmp_path: Path
) -> None:
    running = api.file_task(_hold(tmp_path), priority=9)
    low, high = api.file_task("true", name="low"), api.file_task("true", name="high")
    daemon = workplace.daemon()
    for task_id in (running, low, high):
        daemon.wait_for(f"recorded task {task_id}")
    api.wait_for(running, "PROCESSING")

    paused = workplace.run("queue", "pause", "--reason", "デプロイ中")
    assert paused.stdout == "paused; the running job goes on to its end\n"
    moved = workplace.run("queue", "move", high, "5")
    assert moved.stdout == "job 3 has priority 5 now, place 1 of 2\n"
    (tmp_path / "go").touch()

    assert api.wait_for(running)["status"] == "COMPLETED"
    assert "the queue is paused (デプロイ中)" in workplace.run("explain", low).stdout
    assert "The queue is paused: デプロイ中" in workplace.run("queue", "list").stdout
    assert {api.task(task)["status"] for task in (low, high)} == {"PENDING"}

    assert workplace.run("queue", "resume").stdout == "resumed\n"
    assert workplace.run("queue", "resume").stdout == "the queue was not paused\n"
    api.wait_for_all([low, high])
    listed = json.loads(workplace.run("queue", "list", "--all", "--json").stdout)
    assert [job["name"] for job in listed[:2]] == ["low", "high"], "the last one ended first"
    assert "Somebody gave it priority 5." in workplace.run("explain", high).stdout


def test_pause_outlives_the_daemon(workplace: Workplace, api: Api) -> None:
    workplace.run("queue", "pause")
    task_id = api.file_task("echo on")
    daemon = workplace.daemon()
    daemon.wait_for(f"recorded task {task_id}")
    assert "the queue is paused (A person paused it)" in workplace.run("explain", task_id).stdout
    assert daemon.stop() == 0
    assert api.task(task_id)["status"] == "PENDING"

    resumed = workplace.run("queue", "resume")
    assert (resumed.stdout, resumed.stderr) == (
        "resumed\n",
        "keruta: no daemon runs; the next one takes it up\n",
    )
    workplace.daemon()
    assert api.wait_for(task_id)["status"] == "COMPLETED"


def test_ended_jobs_can_be_run_once_more(workplace: Workplace, api: Api, tmp_path: Path) -> None:
    task_id = api.file_task(f"[ -e {tmp_path}/fixed ]", name="壊れた", priority=3)
    workplace.daemon()
    assert api.wait_for(task_id)["status"] == "FAILED"
    (tmp_path / "fixed").touch()

    reported = json.loads(workplace.run("queue", "retry", task_id, "--json").stdout)

    again = api.wait_for(reported["task"])
    assert (again["status"], again["name"], again["priority"]) == ("COMPLETED", "壊れた", 3)
    assert again["parameters"]["retryOf"] == task_id
    assert api.task(task_id)["status"] == "FAILED"

    assert workplace.run("execute", "echo ad-hoc").stdout == "ad-hoc\n"
    [job, *_] = json.loads(workplace.run("queue", "list", "--json").stdout)
    queued = workplace.run("queue", "retry", str(job["id"]))
    assert queued.stdout == f"queued as job {job['id'] + 1}\n"

    def retried() -> str:
        shown = workplace.run("queue", "show", str(job["id"] + 1), "--json").stdout
        return str(json.loads(shown)["outcome"] or "")

    assert wait_until(retried, "the retry has ended") == "succeeded"
    reported = json.loads(workplace.run("queue", "retry", str(job["id"] + 1), "--json").stdout)
    assert reported == {"job": job["id"] + 2, "task": None}


#: Changes that cannot be made, where job 1 has ended and job 2 waits.
_REFUSED = (
    (("queue", "retry", "2"), "job 2 has not ended: it is waiting"),
    (("queue", "move", "1", "5"), "job 1 does not wait any more: it is succeeded"),
    (("queue", "move", "2", "high"), "'high' is not a whole number"),
    (("queue", "cancel", "77"), "there is no job or task 77"),
    (("queue", "move", "77", "1"), "there is no job or task 77"),
    (("queue", "retry", "no-such-task"), "there is no job or task no-such-task"),
    (("explain", "77"), "there is no job or task 77"),
)


def test_change_that_cannot_be_made_is_refused_and_says_why(workplace: Workplace) -> None:
    assert workplace.run("execute", "true").returncode == 0
    workplace.run("queue", "pause")
    workplace.daemon()
    assert workplace.run("execute", "--detach", "true").returncode == 0

    for command, reported in _REFUSED:
        done = workplace.run(*command)

        assert (done.returncode, done.stdout) == (2, ""), command
        assert reported in done.stderr, command
        assert "Traceback" not in done.stderr
