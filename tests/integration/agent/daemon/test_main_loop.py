"""The daemon's main loop: what ends it, and what makes it replace itself."""

from __future__ import annotations

import dataclasses
import logging

import pytest

from keruta_agent.agent.daemon import main_loop
from keruta_agent.agent.daemon.lock import agent_lock
from keruta_agent.agent.daemon.state_files import StateFiles
from keruta_agent.agent.daemon.systemd import ServiceManager
from keruta_agent.agent.journey.session.poll import SessionPoll
from keruta_agent.agent.store.jobs import StopKind, Work
from keruta_agent.agent.store.store import Records
from keruta_agent.core import errors
from keruta_agent.core.signals import StopRequests
from tests.helpers.agents import SESSION, agent_in


class Dispatcher:
    """A dispatcher whose job ends when the test says so."""

    def __init__(self) -> None:
        self.taking = True
        self.job_has_ended = False
        self.looks = 0

    def stop_taking_jobs(self) -> None:
        self.taking = False

    def wait_for_job(self, timeout_s: float | None) -> bool:
        self.looks += 1
        return self.job_has_ended

    def check_workers(self) -> None:
        return


@pytest.fixture
def agent(tmp_path, api):
    with agent_in(tmp_path, api, session_id=SESSION, stop_timeout_s="1h") as agent:
        yield agent


@pytest.fixture
def world(agent, api, monkeypatch):
    """Everything that the loop looks after."""
    monkeypatch.setattr(main_loop, "LOOK_S", 0.001)
    monkeypatch.setattr(main_loop, "CHECK_S", 0.0)

    class World:
        dispatcher = Dispatcher()
        requests = StopRequests()
        poll = SessionPoll(agent, api)
        reload = staticmethod(lambda: agent.settings)
        state_files = StateFiles(agent)

        def until_end(self) -> None:
            main_loop.MainLoop(
                agent,
                self.poll,
                self.dispatcher,
                self.requests,
                ServiceManager({}),
                self.reload,
                self.state_files,
            ).run()

    return World()


def renewed(agent):
    return dataclasses.replace(agent.settings, api_token="another-token")


@pytest.mark.parametrize("by", ["poll", "delivery"])
def test_renewed_token_replaces_the_daemon_while_the_api_refuses_the_old_one(agent, api, world, by):
    refusal = errors.ApiUnauthorized("expired")
    if by == "poll":
        api.fail_next("session", refusal, times=2)
        world.poll.poll()
        assert world.poll.is_unauthorized
    else:
        agent.records.jobs.record_task(api.add_task(SESSION, "true"))
        agent.records.runs.own(*agent.records.runs.claim_next())
        api.fail_next("write_status", refusal)
        agent.outbox_sender.deliver(30)
        assert agent.outbox_sender.is_unauthorized
    world.reload = lambda: renewed(agent)
    world.until_end()
    assert world.requests.wants_replacement


def test_poll_that_is_answered_again_forgets_the_refusal_and_says_it_only_once(api, world, caplog):
    api.fail_next("session", errors.ApiUnreachable("away"))
    api.fail_next("session", errors.ApiUnauthorized("expired"), times=2)
    for _ in range(3):
        world.poll.poll()
    said = [record.levelname for record in caplog.records if record.levelno >= logging.WARNING]
    assert said == ["WARNING", "ERROR"]
    world.poll.poll()
    assert not world.poll.is_unauthorized


@pytest.mark.parametrize("settings", ["the same", "unreadable", "another, but not asked for"])
def test_daemon_stays_while_there_is_no_better_token(agent, api, world, settings):
    if settings != "another, but not asked for":
        api.fail_next("session", errors.ApiUnauthorized("expired"), times=2)
        world.poll.poll()

    def unreadable():
        raise errors.SettingsError("half written")

    world.reload = {
        "the same": lambda: agent.settings,
        "unreadable": unreadable,
        "another, but not asked for": lambda: renewed(agent),
    }[settings]
    world.requests.stop()
    looks = world.dispatcher

    def ends_after_some_looks(timeout_s):
        looks.looks += 1
        return looks.looks > 5

    looks.wait_for_job = ends_after_some_looks
    world.until_end()
    assert not world.requests.replace


def run_something(agent) -> int:
    job_id = agent.records.jobs.record_script("x", Work(script="true"))
    agent.records.runs.claim_next()
    return job_id


def test_first_request_waits_for_the_running_job(agent, world):
    job_id = run_something(agent)
    world.requests.stop()
    world.dispatcher.job_has_ended = True
    world.until_end()
    assert not world.dispatcher.taking
    assert agent.records.jobs.get(job_id).stop_kind is None


def test_two_requests_at_once_stop_the_running_job(agent, world):
    job_id = run_something(agent)
    world.requests.stop()
    world.requests.stop()
    world.dispatcher.job_has_ended = True
    world.until_end()
    assert agent.records.jobs.get(job_id).stop_kind is StopKind.AGENT_STOPPED


def test_third_request_leaves_although_the_job_goes_on(agent, world):
    run_something(agent)
    for _ in range(3):
        world.requests.stop()
    world.until_end()
    assert world.dispatcher.taking, "it did not even look"


def test_job_that_takes_longer_than_the_stop_may_is_stopped(agent, world, monkeypatch):
    job_id = run_something(agent)
    clock = [100.0]
    monkeypatch.setattr(main_loop.time, "monotonic", lambda: clock[0])
    world.requests.stop()

    def later(timeout_s):
        stopped = agent.records.jobs.get(job_id).stop_kind is not None
        clock[0] += 600
        return stopped

    world.dispatcher.wait_for_job = later
    world.until_end()
    assert 3600 < clock[0] - 100 < 3600 + 1800
    assert agent.records.jobs.get(job_id).stop_kind is StopKind.AGENT_STOPPED


@pytest.mark.parametrize("order", ["stop first", "reload first"])
def test_request_to_stop_goes_before_one_to_reload(world, order):
    calls = [world.requests.stop, world.requests.reload]
    for call in calls if order == "stop first" else reversed(calls):
        call()
    world.dispatcher.job_has_ended = True
    world.until_end()
    assert not world.requests.wants_replacement


@pytest.mark.parametrize("name", ["agent.db", "agent.lock", "agent.sock"])
def test_file_that_is_removed_under_the_daemon_makes_it_start_itself_anew(
    agent, world, name, caplog
):
    base_dir = agent.settings.base_dir
    with agent_lock(base_dir):
        agent.socket_path.touch()
        agent.records.jobs.record_script("x", Work(script="true"))
        world.state_files = StateFiles(agent)
        (base_dir / name).unlink()
        world.until_end()
    assert world.requests.wants_replacement
    assert f"{base_dir / name} was removed" in caplog.text
    found = Records.open(base_dir)
    assert found.jobs.get(1).name == "x"
    found.close()
    assert (base_dir / "agent.db").stat().st_mode & 0o777 == 0o600


def test_database_that_somebody_puts_in_its_place_is_left_as_it_is(agent, world):
    path = agent.records.database.path
    path.unlink()
    path.write_bytes(b"")
    world.until_end()
    assert world.requests.wants_replacement
    assert path.read_bytes() == b""


def test_database_that_cannot_be_written_again_is_begun_anew(agent, world, caplog):
    path = agent.records.database.path
    path.unlink()
    path.with_name("agent.db.new").mkdir()
    world.until_end()
    assert world.requests.wants_replacement
    assert "begins with an empty one" in caplog.text


def test_daemon_whose_whole_directory_is_removed_stops(agent, world):
    agent.settings.base_dir.rename(agent.settings.base_dir.with_name("elsewhere"))
    world.dispatcher.job_has_ended = True
    world.until_end()
    assert (world.requests.count, world.requests.wants_replacement) == (2, False)
    with pytest.raises(errors.AgentStateError, match="was removed while"):
        world.state_files.check_base()
