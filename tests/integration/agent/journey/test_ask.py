"""Scripts that ask a person: what is stored, what the API receives, who may answer."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from keruta_agent.agent.journey import run
from keruta_agent.agent.journey.agent import Agent
from keruta_agent.agent.journey.input import answer
from keruta_agent.agent.journey.session.poll import SessionPoll
from keruta_agent.agent.store.questions import AskedOf, QuestionState
from keruta_agent.agent.store.run import Outcome
from keruta_agent.core import errors
from keruta_agent.core.model import TaskStatus
from keruta_agent.testing import InMemoryKerutaApi
from tests.helpers.agents import SESSION, agent_in
from tests.helpers.waiting import wait_until
from tests.integration.agent.journey.conftest import deliver

pytestmark = pytest.mark.skipif(
    os.uname().machine not in ("x86_64", "aarch64"), reason="waits are seen there only"
)

WAITING, PROCESSING = TaskStatus.WAITING_FOR_INPUT, TaskStatus.PROCESSING


@contextlib.contextmanager
def running(agent: Agent) -> Iterator[threading.Thread]:
    """Run what is to be run in a thread, to its end."""

    def work() -> None:
        while run.run_next(agent) is not None:
            pass

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield thread
    except BaseException:
        stop_running(agent)
        raise
    finally:
        thread.join(30)
        assert not thread.is_alive()


def stop_running(agent: Agent) -> None:
    """Cancel what runs."""
    active = agent.records.runs.active()
    if active is not None:
        agent.records.runs.cancel_job(active[0].id, "the test is over")
        agent.wake_event.wake()


@pytest.fixture
def asked(agent: Agent) -> Callable[[], AskedOf]:
    def wait(number: int = 1) -> AskedOf:
        def found() -> AskedOf | None:
            ones = agent.records.questions.open_ones()
            return ones[0] if ones and ones[0].question.number == number else None

        return wait_until(found, f"question {number} is asked")

    return wait


def take(agent: Agent, poll: SessionPoll) -> None:
    poll.poll()
    deliver(agent)


def test_question_is_reported_and_answered_and_the_task_goes_on(agent, api, poll, file_task, asked):
    task = file_task("printf '名前: '; read -r name; echo; echo hello $name")
    poll.poll()
    with running(agent) as thread:
        found = asked()
        deliver(agent)
        assert (found.task_id, found.question.prompt) == (task.id, "名前:")
        assert not found.question.secret
        assert api.tasks[task.id].status is WAITING
        assert api.tasks[task.id].message == "Waits for input: 名前:"
        assert api.prompts[task.id] == ["名前:"]
        given = answer.give(agent, found.job_id, "花子", "command")
        assert (given.state, given.answered_by) == (QuestionState.ANSWERED, "command")
        thread.join(30)
    deliver(agent)

    assert api.statuses(task.id) == [PROCESSING, WAITING, PROCESSING, TaskStatus.COMPLETED]
    assert "hello 花子" in api.log_text(task.id, "stdout")
    assert "Waits for an answer to: 名前:" in api.log_text(task.id, "agent")


def test_questions_in_a_row_are_distinguished_even_when_they_are_alike(
    agent, poll, file_task, asked
):
    file_task("for n in 1 2 3; do printf 'again? '; read -r x; echo \"$n=$x\"; done")
    poll.poll()
    with running(agent) as thread:
        for number, text in enumerate(("a", "b", "c"), 1):
            found = asked(number)
            assert found.question.prompt == "again?"
            answer.give(agent, found.job_id, text, "command", number=number)
        thread.join(30)
    [ended] = agent.records.runs.of_job(1)
    out = agent.directory_of(ended).path / "stdout"
    assert out.read_text() == "again? 1=a\nagain? 2=b\nagain? 3=c\n"
    assert [event.action for event in agent.records.journal.of_job(1)].count("input_answered") == 3


def test_answer_for_a_question_that_is_over_is_refused(agent, poll, file_task, asked):
    file_task("printf 'one? '; read -r x; printf 'two? '; read -r y; echo $x $y")
    poll.poll()
    with running(agent):
        with pytest.raises(errors.NotFound, match="no job 99"):
            answer.give(agent, 99, "x", "command")
        first = asked()
        answer.give(agent, first.job_id, "1", "command", number=1)
        with pytest.raises(errors.NothingAsked, match="no answer now"):
            answer.give(agent, first.job_id, "again", "command")
        second = asked(2)
        with pytest.raises(errors.NothingAsked, match=r"another question by now: .*two\?"):
            answer.give(agent, second.job_id, "late", "api", number=1)
        answer.give(agent, second.job_id, "2", "command", number=2)
    with pytest.raises(errors.NothingAsked, match="does not run"):
        answer.give(agent, first.job_id, "x", "command")
    assert (
        (agent.directory_of(agent.records.runs.of_job(1)[0]).path / "stdout")
        .read_text()
        .endswith("1 2\n")
    )


def test_question_that_nobody_answers_in_time_ends_the_run_with_its_own_reason(
    agent, api, poll, file_task
):
    task = file_task(
        "printf 'sure? '; read -r x", parameters={"inputTimeout": "300ms", "retry": {"count": 2}}
    )
    poll.poll()
    with running(agent) as thread:
        thread.join(30)
    deliver(agent)

    [ended] = agent.records.runs.of_job(1)
    assert ended.outcome is Outcome.INPUT_TIMEOUT
    end = api.tasks[task.id]
    assert (end.status, end.error_code) == (TaskStatus.FAILED, "INPUT_TIMEOUT")
    assert end.message == "Nobody answered within 300ms: sure?"
    assert agent.records.questions.open_ones() == []


def test_input_timeout_is_tried_again_when_the_rule_names_it(agent, poll, file_task):
    rule = {"count": 1, "on": ["input_timeout"], "delay": 0}
    file_task("read x", parameters={"inputTimeout": 0.1, "retry": rule})
    poll.poll()
    with running(agent):
        wait_until(
            lambda: (
                len(agent.records.runs.of_job(1)) == 2
                or agent.records.jobs.get(1).state == "scheduled"
            ),
            "it is tried again",
        )
    assert agent.records.runs.of_job(1)[0].outcome is Outcome.INPUT_TIMEOUT


def test_invalid_input_timeout_starts_nothing(agent, api, file_task, run_all, tmp_path):
    task = file_task(f"touch {tmp_path}/ran", parameters={"inputTimeout": "soon"})
    run_all()
    assert api.tasks[task.id].error_code == "NOT_STARTED"
    assert "parameters.inputTimeout" in api.tasks[task.id].message
    assert not (tmp_path / "ran").exists()


def test_script_that_goes_on_without_an_answer_is_processing_again(agent, api, poll, file_task):
    task = file_task("printf 'quick? '; read -r -t 2 x; echo gone on; sleep 30")
    poll.poll()
    with running(agent):
        wait_until(agent.records.questions.open_ones, "it is asked")
        deliver(agent)
        wait_until(lambda: not agent.records.questions.open_ones(), "it went on")
        deliver(agent)
        assert api.statuses(task.id) == [PROCESSING, WAITING, PROCESSING]
        story = {event.action: event.detail for event in agent.records.journal.of_job(1)}
        assert story["input_unanswered"]["why"] == "the script went on without it"
        stop_running(agent)


def test_server_without_the_route_gets_the_state_once_and_never_processing_again(
    tmp_path: Path,
):
    api = InMemoryKerutaApi(without=["request_input", "poll_input"])
    api.add_session(SESSION)
    task = api.add_task(SESSION, "printf 'a? '; read -r x; printf 'b? '; read -r y; echo $x$y")
    with agent_in(tmp_path, api, session_id=SESSION, auto_fix="false") as agent:
        SessionPoll(agent, api).poll()
        with running(agent) as thread:
            for number in (1, 2):
                wait_until(
                    lambda n=number: [
                        one
                        for one in agent.records.questions.open_ones()
                        if one.question.number == n
                    ],
                    "it is asked",
                )
                deliver(agent)
                answer.give(agent, 1, str(number), "command")
            thread.join(30)
        deliver(agent)
        assert agent.records.outbox.counts().dead_letters == 0
    assert api.statuses(task.id) == [PROCESSING, WAITING, WAITING, TaskStatus.COMPLETED]


def test_question_that_was_answered_before_its_report_is_not_asked_at_the_api(
    agent, api, poll, file_task, asked
):
    task = file_task("printf 'a? '; read -r x; echo $x")
    poll.poll()
    with running(agent) as thread:
        answer.give(agent, asked().job_id, "1", "command")
        thread.join(30)
    deliver(agent)
    assert api.prompts[task.id] == []
    assert api.statuses(task.id) == [PROCESSING, TaskStatus.COMPLETED]
    assert "Waits for an answer to: a?" in api.log_text(task.id, "agent")


def test_secret_answer_is_marked_and_masked_where_the_script_prints_it(
    agent, api, poll, file_task, asked, tmp_path
):
    task = file_task("printf 'Password: '; read -r -s word; echo; echo \"you said $word\"")
    poll.poll()
    with running(agent) as thread:
        found = asked()
        deliver(agent)
        assert found.question.secret
        assert api.secret_prompts == [(task.id, "Password:")]
        answer.give(agent, found.job_id, "geheim-4711-xyz", "command")
        thread.join(30)
    deliver(agent)
    assert "you said ***" in api.log_text(task.id, "stdout")
    agent.records.database.connection().execute("PRAGMA wal_checkpoint(TRUNCATE)")
    kept = [path for path in agent.settings.base_dir.rglob("*") if path.is_file()]
    holders = {path.name for path in kept if b"geheim-4711" in path.read_bytes()}
    assert holders == {"stdout"}  # the script itself wrote it there


def test_end_of_input_is_seen_by_the_script(agent, poll, file_task, asked):
    file_task("cat; echo the end")
    poll.poll()
    with running(agent) as thread:
        found = asked()
        assert answer.feed(agent, found.job_id, b"two\nlines", ends=False, source="terminal")
        assert answer.feed(agent, found.job_id, b"", ends=True, source="terminal")
        thread.join(30)
    [ended] = agent.records.runs.of_job(1)
    assert (agent.directory_of(ended).path / "stdout").read_text() == "two\nlinesthe end\n"
    assert ended.outcome is Outcome.SUCCEEDED


def test_without_detection_a_script_has_an_empty_input(tmp_path: Path, api: InMemoryKerutaApi):
    with agent_in(tmp_path, api, session_id=SESSION, auto_detect_input="false") as agent:
        task = api.add_task(SESSION, "cat; echo empty")
        SessionPoll(agent, api).poll()
        while run.run_next(agent) is not None:
            pass
        deliver(agent)
        assert api.tasks[task.id].status is TaskStatus.COMPLETED
        assert agent.records.journal.of_job(1) and not agent.records.questions.open_ones()
