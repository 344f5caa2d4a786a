"""The pruning of ended jobs beside the work, wherever the agent is killed."""

from __future__ import annotations

import shutil

import pytest

from keruta_agent.agent.journey import recover, run
from keruta_agent.agent.journey.prune import Pruning
from keruta_agent.agent.journey.session.poll import SessionPoll
from keruta_agent.agent.store.retention import Retention
from keruta_agent.core.model import TaskStatus
from tests.helpers.agents import SESSION, agent_in
from tests.integration.agent.journey.conftest import deliver


class Killed(BaseException):
    """Stands for kill -9: nothing of the agent catches it."""


def prune(agent) -> None:
    pruning = Pruning()
    while pruning.go_on(agent):
        pass


def run_again(api, agent) -> None:
    SessionPoll(agent, api).poll()
    while run.run_next(agent) is not None:
        pass
    deliver(agent)


def test_task_whose_job_was_pruned_does_not_run_again_when_the_api_lists_it(
    api, agent, file_task, run_all, tmp_path
):
    marks = tmp_path / "marks"
    task = file_task(f"echo x >> {marks}")
    run_all()
    with agent_in(tmp_path, api, session_id=SESSION, retention_jobs_age_s="1ms") as later:
        prune(later)
        assert later.records.jobs.listing() == []
        assert list((tmp_path / "base" / "runs").iterdir()) == []
        # As a server does that was put back from an older copy.
        api.set_status(task.id, TaskStatus.PENDING)
        run_again(api, later)
        assert later.records.jobs.listing() == []
    assert marks.read_text() == "x\n"


def test_job_that_is_not_reported_yet_is_kept(api, agent, poll, file_task, tmp_path):
    file_task("echo hi")
    poll.poll()
    run.run_next(agent)
    with agent_in(tmp_path, api, session_id=SESSION, retention_jobs_age_s="1ms") as later:
        prune(later)
        assert len(later.records.jobs.listing()) == 1
        deliver(later)
        prune(later)
        assert later.records.jobs.listing() == []


def test_newest_jobs_are_kept_with_their_directories(api, agent, file_task, run_all, tmp_path):
    for _ in range(4):
        file_task("true")
    run_all()
    with agent_in(tmp_path, api, session_id=SESSION, retention_jobs_count="1") as later:
        prune(later)
        kept = [job.id for job in later.records.jobs.listing()]
        assert kept == [4]
        directories = [path.name for path in (tmp_path / "base" / "runs").iterdir()]
        assert directories == [later.records.runs.of_job(4)[0].directory]


@pytest.mark.parametrize("limits", [{}, {"retention_jobs_age_s": 0, "retention_jobs_count": 0}])
def test_jobs_are_kept_by_default_for_long_and_with_0_for_ever(
    api, agent, file_task, run_all, tmp_path, limits
):
    file_task("true")
    run_all()
    with agent_in(tmp_path, api, session_id=SESSION, **limits) as later:
        if limits:
            later.records.database.connection().execute("UPDATE jobs SET finished_at = 1")
        prune(later)
        assert len(later.records.jobs.listing()) == 1


def test_agent_that_is_killed_between_files_and_records_prunes_the_next_time(
    api, agent, file_task, run_all, tmp_path, monkeypatch
):
    task = file_task("true")
    run_all()
    with agent_in(tmp_path, api, session_id=SESSION, retention_jobs_age_s="1ms") as later:
        with monkeypatch.context() as patched:

            def dies(*_: object) -> int:
                raise Killed

            patched.setattr(Retention, "prune", dies)
            with pytest.raises(Killed):
                prune(later)
        recover.reconcile(later)
        assert later.records.jobs.by_task(task.id) is not None
        prune(later)
        assert later.records.jobs.by_task(task.id) is None


def test_directory_of_a_pruned_job_that_turns_up_again_starts_nothing(
    api, agent, file_task, run_all, tmp_path
):
    file_task("true")
    run_all()
    runs = tmp_path / "base" / "runs"
    shutil.copytree(runs, tmp_path / "copy", ignore=lambda d, names: {"agent", "stdin"} & {*names})
    with agent_in(tmp_path, api, session_id=SESSION, retention_jobs_age_s="1ms") as later:
        prune(later)
        shutil.copytree(tmp_path / "copy", runs, dirs_exist_ok=True)
        recover.reconcile(later)
        run_again(api, later)
        assert later.records.jobs.listing() == []


def test_job_whose_directory_cannot_be_removed_stays_and_holds_up_no_other(
    api, agent, file_task, run_all, tmp_path, monkeypatch
):
    for _ in range(3):
        file_task("true")
    run_all()
    stuck = agent.records.runs.of_job(1)[0].directory
    remove = recover.remove_directory
    monkeypatch.setattr(
        recover, "remove_directory", lambda path: path.name != stuck and remove(path)
    )
    monkeypatch.setattr("keruta_agent.agent.journey.prune.BATCH", 1)
    monkeypatch.setattr("keruta_agent.agent.store.retention.BATCH", 1)
    with agent_in(tmp_path, api, session_id=SESSION, retention_jobs_age_s="1ms") as later:
        prune(later)
        assert [job.id for job in later.records.jobs.listing()] == [1]
