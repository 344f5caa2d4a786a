"""One task's life, against the in-memory API and real processes."""

from __future__ import annotations

import dataclasses

import pytest

from keruta_agent.agent.delivery import circuit_breaker
from keruta_agent.agent.journey import environment, run
from keruta_agent.agent.journey.session import poll as poll_module
from keruta_agent.agent.journey.session.poll import NOT_FOUND_LIMIT
from keruta_agent.agent.store.artifacts import Owner
from keruta_agent.agent.store.jobs import JobState, Work
from keruta_agent.agent.store.run import Outcome
from keruta_agent.core import errors
from keruta_agent.core.backoff import Backoff
from keruta_agent.core.model import Script, TaskStatus
from tests.helpers.agents import SESSION
from tests.integration.agent.journey.conftest import deliver


def test_task_goes_from_pending_to_completed_with_its_log(api, file_task, run_all):
    task = file_task("echo one; echo two; echo three >&2")
    run_all()
    assert api.statuses(task.id) == [TaskStatus.PROCESSING, TaskStatus.COMPLETED]
    assert api.log_text(task.id, "stdout") == "one\ntwo\n"
    assert api.log_text(task.id, "stderr") == "three\n"
    assert api.task(task.id).progress == 100


def test_terminal_state_comes_after_everything_else(api, agent, file_task, run_all):
    file_task(
        "echo line; keruta progress 40; mkdir -p $KERUTA_ARTIFACTS_DIR;"
        "echo x > $KERUTA_ARTIFACTS_DIR/file.txt"
    )
    run_all()
    writes = [call for call in api.calls if call.startswith(("write_", "send_", "upload_"))]
    assert writes[0] == writes[-1] == "write_status"
    assert {"send_logs", "send_progress", "upload_artifact"} <= set(writes[1:-1])


@pytest.mark.parametrize(
    ("script", "code", "message"),
    [
        ("echo why >&2; exit 7", "EXIT_7", "The script exited with code 7: why"),
        ("echo out; exit 1", "EXIT_1", "The script exited with code 1: out"),
        ("kill -9 $$", "SIGNAL_9", "The script was killed by signal 9 (SIGKILL)"),
        ("#!/no/such/interpreter\n", "NOT_STARTED", "/no/such/interpreter"),
        ("   \n", "NOT_STARTED", "the task has no script"),
        ("keruta fail --message 壊れた --error-code DB", "DB", "壊れた"),
        ("keruta fail --message first; keruta success; exit 0", "REPORTED", "first"),
        ("keruta success; exit 3", "EXIT_3", "reported success, then exited with code 3"),
    ],
)
def test_failure_is_reported_with_its_reason(api, file_task, run_all, script, code, message):
    task = file_task(script)
    run_all()
    ended = api.task(task.id)
    assert api.statuses(task.id) == [TaskStatus.PROCESSING, TaskStatus.FAILED]
    assert ended.error_code == code
    assert message in ended.message


def test_success_message_of_the_script_is_kept(api, file_task, run_all):
    task = file_task(
        "keruta start; keruta progress 50 --message 半分; keruta success --message done"
    )
    run_all()
    assert api.task(task.id).message == "done"
    assert api.progress[task.id][-1] == (50, "半分")


def test_log_lines_of_the_script_have_level_and_fields(api, file_task, run_all):
    task = file_task("keruta log WARNING 'disk is full' --field path=/tmp; keruta log debug x")
    run_all()
    reported = [(e.level, e.message, dict(e.metadata)) for e in api.logs(task.id)]
    assert reported == [("WARN", "disk is full", {"path": "/tmp"}), ("DEBUG", "x", {})]


def test_tasks_run_by_priority_then_age(api, agent, file_task, run_all, tmp_path):
    for name, priority in (("a", 0), ("b", 5), ("c", 0), ("d", 5), ("e", -1)):
        file_task(f"echo {name} >> {tmp_path}/order", priority=priority)
    run_all()
    assert (tmp_path / "order").read_text().split() == ["b", "d", "a", "c", "e"]


def test_failure_does_not_stop_the_next_task(api, file_task, run_all):
    first, second = file_task("exit 1"), file_task("true")
    run_all()
    assert api.task(first.id).status is TaskStatus.FAILED
    assert api.task(second.id).status is TaskStatus.COMPLETED


def test_script_sees_its_task_and_not_the_secrets_of_the_agent(
    api, agent, file_task, run_all, monkeypatch
):
    monkeypatch.setenv("KERUTA_API_TOKEN", "top-secret")
    monkeypatch.setenv("SOME_PASSWORD", "secret-too")
    monkeypatch.setenv("LANG", "ja_JP.UTF-8")
    task = file_task("env | sort", parameters={"env": {"COLOUR": "赤", "N": 5}})
    run_all()
    seen = dict(line.split("=", 1) for line in api.log_text(task.id).splitlines() if "=" in line)
    assert seen["KERUTA_TASK_ID"] == task.id
    assert seen["KERUTA_SESSION_ID"] == SESSION
    assert (seen["COLOUR"], seen["N"], seen["LANG"]) == ("赤", "5", "ja_JP.UTF-8")
    assert "secret" not in api.log_text(task.id)


def test_commands_in_a_script_find_this_very_agent(api, agent, file_task, run_all, monkeypatch):
    monkeypatch.setenv("KERUTA_BASE_DIR", "/somewhere/else")
    task = file_task("keruta config show --json; keruta queue show $KERUTA_JOB_ID")
    run_all()
    base_dir = agent.settings.base_dir
    assert f'"value": "{base_dir}"' in api.log_text(task.id)
    assert f"task      {task.id}" in api.log_text(task.id)


@pytest.mark.parametrize(
    ("api_url", "seen"),
    [(None, None), ("http://h:1/x", "http://h:1/x"), ("http://u:geheim@h", None)],
)
def test_script_gets_the_address_of_the_api_unless_that_holds_a_password(agent, api_url, seen):
    settings = dataclasses.replace(agent.settings, api_url=api_url)
    assert environment._where_we_are(settings).get("KERUTA_API_URL") == seen


def test_impossible_variable_is_refused_with_its_name(api, file_task, run_all):
    task = file_task("true", parameters={"env": {"A=B": "x"}})
    run_all()
    assert "'A=B'" in api.task(task.id).message


def test_script_is_read_again_right_before_the_run(api, agent, poll, file_task):
    task = file_task("echo old")
    poll.poll()
    api.scripts[task.id] = Script(content="echo new")
    run.run_next(agent)
    deliver(agent)
    assert api.log_text(task.id) == "new\n"


def test_unreadable_script_route_falls_back_to_what_was_filed(api, file_task, poll, agent):
    task = file_task("echo filed")
    poll.poll()
    api.fail_next("script", errors.ApiFailed("broken"))
    run.run_next(agent)
    deliver(agent)
    assert api.log_text(task.id) == "filed\n"


def test_task_that_another_agent_holds_is_not_run(api, agent, poll, file_task, tmp_path):
    """Servers with a lock answer 200 and a task that they made FAILED."""
    task = file_task(f"touch {tmp_path}/ran")
    poll.poll()
    api.set_status(task.id, TaskStatus.FAILED)
    ended = run.run_next(agent)
    deliver(agent)
    assert ended.outcome is Outcome.REFUSED
    assert not (tmp_path / "ran").exists()
    assert api.statuses(task.id) == []


def test_deleted_task_is_not_run(api, agent, poll, file_task, tmp_path):
    task = file_task(f"touch {tmp_path}/ran")
    poll.poll()
    del api.tasks[task.id]
    assert run.run_next(agent).outcome is Outcome.REFUSED
    assert not (tmp_path / "ran").exists()


def test_ambiguous_announcement_is_looked_up_before_it_is_repeated(
    api, agent, poll, file_task, run_all
):
    task = file_task("echo hi")
    api.fail_next("write_status", errors.ApiAmbiguous("timed out"), after_acting=True)
    poll.poll()
    run.run_next(agent)
    assert api.statuses(task.id) == [TaskStatus.PROCESSING]
    agent.outbox_sender._words._not_before = 0.0  # the wait after a failure is over
    deliver(agent)
    assert api.statuses(task.id) == [TaskStatus.PROCESSING, TaskStatus.COMPLETED]


def test_api_that_goes_away_delays_everything_and_loses_nothing(
    api, agent, poll, file_task, monkeypatch
):
    monkeypatch.setattr(
        circuit_breaker, "BACKOFF", Backoff(300.0, 300.0)
    )  # longer than the script takes
    task = file_task("echo one; keruta progress 10; echo two; keruta success --message ok")
    poll.poll()
    for method in ("write_status", "send_logs", "send_progress", "script"):
        api.fail_next(method, errors.ApiUnreachable("no route"))
    run.run_next(agent)
    assert api.statuses(task.id) == []
    assert agent.outbox_sender.api_problem == "no route"
    for _ in range(5):
        agent.outbox_sender._words._not_before = 0.0
        deliver(agent)
    assert api.statuses(task.id) == [TaskStatus.PROCESSING, TaskStatus.COMPLETED]
    assert api.log_text(task.id, "stdout") == "one\ntwo\n"
    assert api.task(task.id).message == "ok"


def test_write_that_the_api_refuses_is_set_aside_and_the_rest_goes_on(
    api, agent, file_task, run_all
):
    task = file_task("echo hi; keruta progress 50; sleep 0.3; echo there")
    api.fail_next("send_progress", errors.ApiRefused("no"))
    run_all()
    assert api.task(task.id).status is TaskStatus.COMPLETED
    assert [entry.kind for entry in agent.records.outbox.dead_letters()] == ["progress"]


def test_removed_run_directory_does_not_hold_up_the_outbox(api, agent, poll, file_task):
    first, second = file_task("echo gone"), file_task("echo there")
    poll.poll()
    api.fail_next("write_status", errors.ApiUnreachable("away"))
    run.run_next(agent)
    run_directory = agent.directory_of(
        agent.records.runs.of_job(agent.records.jobs.by_task(first.id).id)[0]
    )
    (run_directory.path / "stdout").unlink()
    agent.outbox_sender._words._not_before = 0.0  # the wait after a failure is over
    run.run_next(agent)
    agent.outbox_sender._words._not_before = 0.0
    deliver(agent)
    assert api.task(second.id).status is TaskStatus.COMPLETED


def test_endpoints_that_a_server_lacks_cost_nothing(tmp_path):
    from keruta_agent.agent.journey.session.poll import SessionPoll
    from keruta_agent.testing import InMemoryKerutaApi
    from tests.helpers.agents import agent_in

    api = InMemoryKerutaApi(without=["progress", "upload_artifact", "send_metrics"])
    api.add_session(SESSION)
    task = api.add_task(
        SESSION,
        "keruta progress 30; mkdir -p $KERUTA_ARTIFACTS_DIR; echo a > $KERUTA_ARTIFACTS_DIR/a",
    )
    with agent_in(tmp_path, api, session_id=SESSION) as agent:
        SessionPoll(agent, api).poll()
        run.run_next(agent)
        deliver(agent)
        assert api.task(task.id).status is TaskStatus.COMPLETED
        assert "30" in api.log_text(task.id)
        assert [each.state for each in agent.records.artifacts.of(Owner(task_id=task.id))] == [
            "stays here"
        ]
        assert agent.records.outbox.counts().dead_letters == 0


def test_adhoc_script_needs_no_api(tmp_path):
    from tests.helpers.agents import agent_in

    with agent_in(tmp_path) as agent:
        job_id = agent.records.jobs.record_script("x", Work(script="exit 4"))
        assert run.run_next(agent).exit_code == 4
        assert agent.records.jobs.get(job_id).state is JobState.FINISHED


def test_session_that_ended_takes_its_waiting_tasks_with_it(api, agent, poll, file_task):
    task = file_task("true")
    poll.poll()
    api.end_session(SESSION)
    poll.poll()
    assert poll.ended.is_set()
    assert run.run_next(agent) is None
    assert api.statuses(task.id) == []


def test_session_that_is_not_found_for_a_moment_is_not_ended(api, poll):
    poll.poll()
    session = api.sessions.pop(SESSION)
    for _ in range(NOT_FOUND_LIMIT + 1):
        poll.poll()
    assert not poll.ended.is_set()
    api.sessions[SESSION] = session
    poll.poll()
    assert not poll.ended.is_set()


def test_deleted_session_counts_as_ended_after_a_few_looks(api, poll, monkeypatch):
    monkeypatch.setattr(poll_module, "NOT_FOUND_S", 0.0)
    poll.poll()
    del api.sessions[SESSION]
    for number in range(NOT_FOUND_LIMIT):
        assert not poll.ended.is_set(), number
        poll.poll()
    assert poll.ended.is_set()


def test_poll_goes_on_after_the_api_was_away(api, agent, poll, file_task):
    file_task("true")
    api.fail_next("session", errors.ApiUnreachable("away"))
    poll.poll()
    assert agent.records.jobs.counts()[JobState.WAITING] == 0
    poll.poll()
    assert agent.records.jobs.counts()[JobState.WAITING] == 1


@pytest.mark.parametrize(("asked_s", "waits_s"), [(120, 120), (86_400 * 365, 3600)])
def test_wait_that_the_server_asks_for_is_kept_within_reason(
    api, agent, poll, file_task, monkeypatch, asked_s, waits_s
):
    file_task("true")
    poll.poll()
    agent.records.runs.own(*agent.records.runs.claim_next())
    api.fail_next("write_status", errors.ApiOverloaded("busy", retry_after_s=asked_s))
    assert agent.outbox_sender.deliver(30) == pytest.approx(waits_s, abs=5)
    assert agent.outbox_sender.api_is_away
