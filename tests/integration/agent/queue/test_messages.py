"""Messages of the queue: ids only, and none that is lost or foreign does harm."""

from __future__ import annotations

import gc
import json
import sqlite3

import pytest
from huey.consumer import Consumer

from keruta_agent.agent.store.jobs import Work
from keruta_agent.core.model import TaskStatus
from tests.helpers.agents import SESSION
from tests.helpers.waiting import wait_until


def test_nothing_is_lost_with_the_queue_file(api, make, tmp_path):
    first = make()
    ids = [first.agent.records.jobs.record_script(str(n), Work(script="true")) for n in range(3)]
    first.stop()
    (tmp_path / "base" / "queue.db").unlink()
    second = make()
    second.start()
    wait_until(second.is_done, "all jobs are done")
    assert [second.agent.records.jobs.get(job_id).outcome for job_id in ids] == ["succeeded"] * 3


# Huey opens the file, finds the garbage, and does not close it; Python 3.13 says so.
@pytest.mark.filterwarnings("ignore:unclosed database:ResourceWarning")
def test_garbage_in_the_queue_file_is_kept_aside_and_loses_nothing(make, tmp_path):
    (tmp_path / "base").mkdir(mode=0o700)
    (tmp_path / "base" / "queue.db").write_bytes(b"garbage" * 1000)
    running = make()
    job_id = running.agent.records.jobs.record_script("x", Work(script="true"))
    running.start()
    wait_until(running.is_done, "the job is done")
    assert running.agent.records.jobs.get(job_id).outcome == "succeeded"
    assert list((tmp_path / "base").glob("queue.db.damaged-*"))
    gc.collect()  # the warning is to come here, not in another test


@pytest.mark.parametrize(
    "message",
    [
        b"\x80\x05\x95pickle",
        b"not json",
        json.dumps(["id", "os.system", ["rm -rf /"]]).encode(),
        json.dumps(["id", "no.such.task", [1]]).encode(),
        b"[]",
    ],
)
def test_foreign_message_is_not_executed_and_stops_nothing(make, tmp_path, message):
    running = make()
    running.start()
    with sqlite3.connect(tmp_path / "base" / "queue.db") as connection:
        connection.execute(
            "INSERT INTO task (queue, data, priority) VALUES ('work', ?, 0)", (message,)
        )
    connection.close()
    running.agent.records.jobs.record_script("x", Work(script="true"))
    running.dispatcher.jobs_runnable()
    wait_until(running.is_done, "the job behind it is done")


@pytest.mark.parametrize("queue", ["control", "uploads", "work"])
def test_messages_that_a_version_before_left_are_dropped_with_their_queues(
    api, make, tmp_path, queue
):
    make().stop()
    with sqlite3.connect(tmp_path / "base" / "queue.db") as connection:
        for number, name in enumerate(("poll", "flush", "upload", "wake_scheduled", "run_job")):
            connection.execute(
                "INSERT INTO task (queue, data, priority) VALUES (?, ?, 0)",
                (queue, json.dumps([str(number), name, []]).encode()),
            )
            connection.execute(
                "INSERT INTO schedule (queue, data, timestamp) VALUES (?, ?, 0)", (queue, b"x")
            )
    connection.close()
    task = api.add_task(SESSION, "echo hello")
    make().start()
    wait_until(lambda: api.task(task.id).status is TaskStatus.COMPLETED, "the task is done")
    assert api.log_text(task.id) == "hello\n"
    with sqlite3.connect(tmp_path / "base" / "queue.db") as connection:
        left = connection.execute("SELECT * FROM task UNION ALL SELECT * FROM schedule").fetchall()
    connection.close()
    assert left == []


def test_messages_carry_nothing_of_a_job(make, tmp_path):
    running = make()
    running.agent.records.jobs.record_script("x", Work(script="echo secret"))
    running.dispatcher._define_tasks(running.agent, None)
    running.dispatcher.jobs_runnable()
    with sqlite3.connect(tmp_path / "base" / "queue.db") as connection:
        rows = connection.execute("SELECT data FROM task").fetchall()
    connection.close()
    assert [json.loads(data)[2] for (data,) in rows] == [[]]
    assert all(b"secret" not in data for (data,) in rows)


def test_huey_still_has_the_hooks_that_we_override():
    for name in ("_set_signal_handlers", "_create_worker", "_create_scheduler"):
        assert callable(getattr(Consumer, name))
