"""A task in its repository when something goes wrong around it."""

from __future__ import annotations

import dataclasses
import threading
from pathlib import Path

import pytest

from keruta_agent.agent.journey import run
from keruta_agent.agent.journey.context import RunContext
from keruta_agent.agent.journey.observe import ingest
from keruta_agent.agent.journey.session.poll import SessionPoll
from keruta_agent.agent.run import processes
from keruta_agent.agent.run.directory import About
from keruta_agent.agent.store.jobs import Job, StopKind
from keruta_agent.agent.store.run import Run
from keruta_agent.core import errors
from keruta_agent.core.model import Session
from tests.helpers.agents import SESSION, agent_in
from tests.helpers.git_http import PASSWORD, USER, git_http_server
from tests.helpers.repositories import git
from tests.helpers.waiting import wait_until
from tests.helpers.workspace_world import BRANCH, OTHER_TASK, TASK, World, take_and_run
from tests.integration.agent.journey.conftest import deliver


def test_cancel_ends_a_clone_that_hangs(world: World, tmp_path: Path) -> None:
    with git_http_server(tmp_path) as server:
        server.hangs = True
        session = world.api.sessions[SESSION]
        hanging = dataclasses.replace(session, repository_url=server.url(world.repository))
        world.api.sessions[SESSION] = hanging
        task = world.api.add_task(SESSION, "echo ran", id=TASK)
        with agent_in(tmp_path, world.api, **world.flags) as agent:
            SessionPoll(agent, world.api).poll()
            worker = threading.Thread(target=run.run_next, args=(agent,))
            worker.start()
            wait_until(lambda: server.requests, "git has asked the server")
            job = agent.records.jobs.by_task(TASK)
            assert job is not None
            agent.records.jobs.request_stop(job.id, StopKind.CANCELLED, "A person cancelled it")
            worker.join(20)
            assert not worker.is_alive()
            ended = agent.records.jobs.get(job.id)
            assert ended is not None
            assert (ended.outcome, ended.message) == ("cancelled", "A person cancelled it")
            (found,) = agent.records.runs.of_job(job.id)
            assert processes.marked_processes(found.uid) == []
            deliver(agent)
    assert world.api.task(task.id).error_code == "CANCELLED"


def test_clone_that_broke_off_is_tried_again(world: World, tmp_path: Path) -> None:
    world.repository.commit("main", {"large.txt": "0123456789abcdef" * 4000})
    with git_http_server(tmp_path) as server:
        session = world.api.sessions[SESSION]
        address = server.url(world.repository).replace("//", f"//{USER}:{PASSWORD}@")
        world.api.sessions[SESSION] = dataclasses.replace(session, repository_url=address)
        git(world.repository.path, "config", "http.receivepack", "true")
        # The first answer is a list of branches, which is shorter than that.
        server.break_off, server.break_off_after = 2, 400
        task = world.run("echo x > new.txt")
    assert "Pushed" in task.message
    assert "tries again" in world.log()
    assert PASSWORD not in world.log() + task.message
    files = [path for path in (tmp_path / "base").rglob("*") if path.is_file()]
    assert [path for path in files if PASSWORD.encode() in path.read_bytes()] == []


def test_api_that_is_away_holds_nothing_up(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.api.add_task(SESSION, "echo x > new.txt", id=TASK)
    with agent_in(world.directory, world.api, **world.flags) as agent:
        SessionPoll(agent, world.api).poll()

        def away(session_id: str) -> Session:
            raise errors.ApiUnreachable("nobody answers")

        monkeypatch.setattr(world.api, "session", away)
        assert run.run_next(agent) is not None
    assert world.repository.task_branches == [BRANCH]


def test_run_goes_on_where_another_agent_was_killed_before_its_script(world: World) -> None:
    world.api.add_task(SESSION, "echo ran; echo x > new.txt", id=TASK)
    with agent_in(world.directory, world.api, **world.flags) as agent:
        SessionPoll(agent, world.api).poll()
        claimed = agent.records.runs.claim_next()
        assert claimed is not None
        job, left = claimed
        agent.directory_of(left).create()
        agent.directory_of(left).write_about(about(job, left))
        ctx = RunContext(agent, job, left)
        ctx.log.say("said before the agent was killed")
        with ctx.log.group("a hook") as output, output.open("a") as file:
            file.write("written before the agent was killed")
        ingest.catch_up(ctx, final=True)
        take_and_run(agent, world.api)
    assert "said before" in world.log()
    assert world.log().count("on branch") == 1
    assert world.output() == "written before the agent was killed\nran\n"
    assert world.repository.task_branches == [BRANCH]


def about(job: Job, left: Run) -> About:
    return About(
        uid=left.uid,
        number=left.number,
        job_id=job.id,
        filed_at=job.filed_at,
        task_id=job.task_id,
        session_id=job.session_id,
        name=job.name,
        priority=job.priority,
    )


def test_script_gets_the_token_only_if_it_may_see_it(
    world: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("GIT_TOKEN", PASSWORD)
    script = "git push -q origin HEAD:keruta-by-script && echo pushed || echo refused"
    with git_http_server(tmp_path) as server:
        git(world.repository.path, "config", "http.receivepack", "true")
        session = world.api.sessions[SESSION]
        world.api.sessions[SESSION] = dataclasses.replace(
            session, repository_url=server.url(world.repository)
        )
        world.flags |= {"git_token": PASSWORD, "git_username": USER}
        world.flags["git_token_hosts"] = f"http://{server.host}"
        world.run(f"echo token=${{GIT_TOKEN:-none}}; {script}")
        world.flags["pass_environment"] = "GIT_TOKEN"
        world.run(script, task_id=OTHER_TASK)
    assert world.api.log_text(TASK, "stdout") == "token=none\nrefused\n"
    assert world.api.log_text(OTHER_TASK, "stdout") == "pushed\n"
