"""The dispatcher: one job after the other, woken at once, with a queue that may be lost."""

from __future__ import annotations

import sqlite3
import threading
from collections.abc import Iterator

import pytest
from huey.signals import SIGNAL_ERROR

from keruta_agent.agent.daemon import shutdown
from keruta_agent.agent.journey import run
from keruta_agent.agent.queue import dispatcher
from keruta_agent.agent.store.jobs import JobState, Work
from keruta_agent.agent.store.outbox import Kind, Lane
from keruta_agent.core import errors
from keruta_agent.core.model import ArtifactFile, TaskStatus
from keruta_agent.testing import InMemoryKerutaApi
from tests.helpers.agents import SESSION
from tests.helpers.waiting import wait_until


def test_session_is_polled_run_and_reported(api, make):
    task = api.add_task(SESSION, "echo hello")
    make().start()
    wait_until(lambda: api.task(task.id).status is TaskStatus.COMPLETED, "the task is done")
    assert api.log_text(task.id) == "hello\n"


def test_new_task_is_found_at_the_next_poll(api, make):
    make(poll_interval_s=0.1).start()
    wait_until(lambda: api.calls.count("pending_tasks") >= 2, "it has polled twice")
    task = api.add_task(SESSION, "true")
    wait_until(lambda: api.task(task.id).status is TaskStatus.COMPLETED, "the task is done")


def test_poll_can_be_asked_for(api, make):
    running = make()
    running.start()
    wait_until(lambda: api.calls.count("pending_tasks") == 1, "the first poll is over")
    task = api.add_task(SESSION, "true")
    running.dispatcher.poll_now()
    wait_until(lambda: api.task(task.id).status is TaskStatus.COMPLETED, "the task is done")


def test_handed_in_job_wakes_the_idle_worker(make):
    running = make()
    running.start()
    running.agent.records.jobs.record_script("x", Work(script="true"))
    running.dispatcher.jobs_runnable()
    wait_until(running.is_done, "the job is done", timeout_s=4)  # a safety poll comes after 5 s


def test_failure_is_announced_by_hueys_signal_and_gets_its_auto_fix(api, make):
    task = api.add_task(SESSION, '[ -n "$KERUTA_AUTO_FIX" ] || exit 9', name="broken")
    running = make(poll_interval_s=0.1)
    failed = []
    running.dispatcher._work.signal(SIGNAL_ERROR)(lambda _, task: failed.append(task.args))
    running.start()
    wait_until(lambda: len(api.tasks) == 2, "an auto-fix task is filed")
    fix = next(other for other in api.tasks.values() if other.id != task.id)
    wait_until(lambda: api.task(fix.id).status is TaskStatus.COMPLETED, "the fix is done")
    assert api.task(task.id).status is TaskStatus.FAILED
    assert fix.parent_task_id == task.id
    assert failed == [(1,)]


def test_failure_that_is_found_before_the_workers_start_is_announced_all_the_same(make):
    running, announced = make(), []
    running.dispatcher._work.signal(SIGNAL_ERROR)(lambda _, task: announced.append(task.args))

    running.dispatcher.job_failed(1)

    assert announced == [(1,)]


def test_poll_and_outbox_go_on_while_a_long_script_runs(api, make, tmp_path):
    task = api.add_task(
        SESSION, f"echo first; while ! [ -e {tmp_path}/go ]; do sleep 0.05; done; echo last"
    )
    make(poll_interval_s=0.1).start()
    wait_until(lambda: "first" in api.log_text(task.id), "its first line is at the API")
    polls = api.calls.count("pending_tasks")
    wait_until(lambda: api.calls.count("pending_tasks") > polls, "it polls again")
    (tmp_path / "go").touch()
    wait_until(lambda: api.task(task.id).status is TaskStatus.COMPLETED, "the task is done")


class SlowUploads(InMemoryKerutaApi):
    """An API to which files take as long as the test wants."""

    def __init__(self) -> None:
        super().__init__()
        self.uploading = threading.Event()
        self.may_end = threading.Event()

    def upload_artifact(self, task_id: str, artifact: ArtifactFile, *, key: str) -> None:
        self.uploading.set()
        assert self.may_end.wait(30)
        super().upload_artifact(task_id, artifact, key=key)


@pytest.fixture
def slow_api() -> Iterator[SlowUploads]:
    api = SlowUploads()
    api.add_session(SESSION)
    yield api
    api.may_end.set()


def test_long_upload_holds_up_nothing_but_the_end_of_its_own_task(slow_api, make):
    task = slow_api.add_task(SESSION, 'echo x > "$KERUTA_ARTIFACTS_DIR/x"', priority=1)
    other = slow_api.add_task(SESSION, "echo other")
    make(poll_interval_s=0.1, api=slow_api).start()
    wait_until(slow_api.uploading.is_set, "the upload has begun")
    wait_until(lambda: slow_api.task(other.id).status is TaskStatus.COMPLETED, "the other is done")
    late = slow_api.add_task(SESSION, "echo late")
    wait_until(lambda: slow_api.task(late.id).status is TaskStatus.COMPLETED, "it polls and runs")
    assert slow_api.log_text(late.id) == "late\n"
    assert slow_api.task(task.id).status is TaskStatus.PROCESSING

    slow_api.may_end.set()
    wait_until(lambda: slow_api.task(task.id).status is TaskStatus.COMPLETED, "the task is done")
    assert [stored.relative_path for stored in slow_api.artifacts] == ["x"]


def test_run_begins_and_speaks_while_a_file_of_the_run_before_it_is_sent(slow_api, make):
    task = slow_api.add_task(
        SESSION,
        'echo x > "$KERUTA_ARTIFACTS_DIR/x"; [ "$KERUTA_RUN_NUMBER" = 2 ] && echo second',
        parameters={"retry": {"count": 1, "delay": 0}},
    )
    make(poll_interval_s=3600, api=slow_api).start()
    wait_until(slow_api.uploading.is_set, "the upload has begun")
    wait_until(lambda: "second" in slow_api.log_text(task.id), "the second run has spoken")
    assert slow_api.task(task.id).status is TaskStatus.PROCESSING

    slow_api.may_end.set()
    wait_until(lambda: slow_api.task(task.id).status is TaskStatus.COMPLETED, "the task is done")


def test_upload_that_fails_again_and_again_does_not_silence_the_rest(api, make):
    task = api.add_task(SESSION, 'echo x > "$KERUTA_ARTIFACTS_DIR/x"', priority=1)
    other = api.add_task(SESSION, "echo other")
    api.fail_next("upload_artifact", errors.ApiAmbiguous("the proxy broke off"), times=2)
    running = make()
    running.start()
    wait_until(lambda: api.task(other.id).status is TaskStatus.COMPLETED, "the other is done")
    assert not running.agent.outbox_sender.api_is_away
    wait_until(lambda: api.task(task.id).status is TaskStatus.COMPLETED, "the task is done")
    assert [stored.relative_path for stored in api.artifacts] == ["x"]


def test_outbox_is_flushed_again_after_the_disk_was_full(api, make, monkeypatch):
    """Although nothing new comes that would have it flushed."""
    monkeypatch.setattr(dispatcher, "AGENT_FAILURE_WAIT_S", 0.1)
    task = api.add_task(SESSION, "true")
    running = make()
    line = {"level": "INFO", "message": "said", "source": "agent"}
    running.agent.records.outbox.add(Kind.LOG_LINE, task.id, line, run_id=None, key="line")
    failures = [sqlite3.OperationalError("database or disk is full")]
    deliver = running.agent.outbox_sender.deliver

    def fail_once(budget_s: float, lane: Lane) -> float | None:
        if failures:
            raise failures.pop()
        return deliver(budget_s, lane)

    monkeypatch.setattr(running.agent.outbox_sender, "deliver", fail_once)
    monkeypatch.setattr(running.poll, "poll", lambda: None)
    running.start()
    wait_until(lambda: api.log_text(task.id), "the line is sent", timeout_s=10)


def test_stop_does_not_begin_an_upload_of_its_own(slow_api, make, monkeypatch):
    """A gigabyte would hold the stop for minutes; the next daemon sends it."""
    running = make(api=slow_api)
    monkeypatch.setattr(shutdown, "DRAIN_S", 0.3)
    task = slow_api.add_task(SESSION, 'echo x > "$KERUTA_ARTIFACTS_DIR/x"; echo said')
    running.agent.records.jobs.record_task(task)
    run.run_next(running.agent)
    shutdown.drain_outbox(running.agent)
    assert slow_api.log_text(task.id) == "said\n"
    assert not slow_api.uploading.is_set()


def test_agent_that_failed_at_a_job_takes_it_up_again(make, monkeypatch, tmp_path):
    from keruta_agent.agent.journey import finish
    from keruta_agent.agent.queue import dispatcher

    monkeypatch.setattr(dispatcher, "AGENT_FAILURE_WAIT_S", 0.01)
    store, failures = finish.store, iter([OSError("disk full"), ValueError("bug")])

    def fails_twice(*args, **kwargs):
        for failure in failures:
            raise failure
        return store(*args, **kwargs)

    monkeypatch.setattr(finish, "store", fails_twice)
    running = make()
    running.start()
    running.agent.records.jobs.record_script("x", Work(script=f"echo ran >> {tmp_path}/runs"))
    running.dispatcher.jobs_runnable()
    wait_until(running.is_done, "the job is done")
    assert (tmp_path / "runs").read_text() == "ran\n"


def test_stopping_finishes_the_running_job_and_leaves_the_waiting_one(make, tmp_path):
    running = make()
    running.start()
    script = f"touch {tmp_path}/started; while ! [ -e {tmp_path}/go ]; do sleep 0.05; done"
    first = running.agent.records.jobs.record_script("first", Work(script=script))
    second = running.agent.records.jobs.record_script("second", Work(script="true"))
    running.dispatcher.jobs_runnable()
    wait_until((tmp_path / "started").exists, "the first job runs")
    running.dispatcher.stop_taking_jobs()
    assert not running.dispatcher.wait_for_job(0)
    (tmp_path / "go").touch()
    assert running.dispatcher.wait_for_job(30)
    assert running.agent.records.jobs.get(first).state is JobState.FINISHED
    assert running.agent.records.jobs.get(second).state is JobState.WAITING


def test_one_message_is_enough_for_many_waiting_jobs(make, tmp_path):
    running = make()
    jobs = running.agent.records.jobs
    for number in range(20):
        jobs.record_script("x", Work(script=f"echo {number} >> {tmp_path}/ran"))
    jobs.pause("not yet")
    running.start()
    for _ in range(20):
        running.dispatcher.jobs_runnable()
    assert running.dispatcher._work.pending_count() <= 1
    jobs.resume()
    running.dispatcher.jobs_runnable()
    wait_until(running.is_done, "all are done")
    assert (tmp_path / "ran").read_text().split() == [str(number) for number in range(20)]


def test_job_is_noticed_although_its_message_could_not_be_queued(make, monkeypatch):
    running = make()
    running.start()
    wait_until(lambda: not running.dispatcher._work.pending_count(), "the first message is read")

    def fails() -> None:
        raise sqlite3.OperationalError("disk I/O error")

    running.agent.records.jobs.record_script("x", Work(script="true"))
    with monkeypatch.context() as patched:
        patched.setitem(running.dispatcher._tasks, "run_job", fails)
        running.dispatcher.jobs_runnable()
    running.dispatcher.outbox_filled()
    wait_until(running.is_done, "the job is done")


def test_polls_do_not_pile_up(api, make, monkeypatch):
    running = make()
    polling, may_end = threading.Event(), threading.Event()

    def poll() -> None:
        polling.set()
        assert may_end.wait(30)

    monkeypatch.setattr(running.poll, "poll", poll)
    running.start()
    wait_until(polling.is_set, "a poll is slow")
    for _ in range(10):
        running.dispatcher.poll_now()
    waiting = running.dispatcher._polls.pending_count()
    may_end.set()
    assert waiting == 1


@pytest.mark.parametrize("name", ["reports", "uploads", "retries", "housekeeping"])
def test_thread_that_died_is_started_again(make, monkeypatch, name):
    monkeypatch.setattr(threading, "excepthook", lambda args: None)
    running = make()
    thread = next(thread for thread in running.dispatcher._threads if thread.name == name)
    running.start()
    wait_until(lambda: running.dispatcher.hindrance() is None, "all work")

    def dies() -> float:
        raise SystemExit

    thread.stop()
    thread.join(30)
    thread._is_stopping = False
    thread.start(dies)
    thread.due_in(0.0)
    wait_until(lambda: not thread.is_working(), "the thread has died")
    assert running.dispatcher.hindrance() == "a worker has died and is to be started again"
    thread._work = lambda: 60.0
    running.dispatcher.check_workers()
    assert running.dispatcher.hindrance() is None


def test_worker_that_died_is_started_again(make):
    running = make()
    running.start()
    consumer = running.dispatcher._work_consumer
    consumer.stop_flag.set()
    consumer.wake_event.set()
    assert consumer.join(30)
    consumer.stop_flag.clear()
    running.dispatcher.check_workers()
    running.agent.records.jobs.record_script("x", Work(script="true"))
    running.dispatcher.jobs_runnable()
    wait_until(running.is_done, "the job is done")
