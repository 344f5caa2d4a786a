"""How ``keruta status`` writes what it found."""

from __future__ import annotations

import dataclasses

import pytest

from keruta_agent.cli import status_view
from keruta_agent.cli.status_facts import (
    DaemonFacts,
    Facts,
    JobFacts,
    OutboxFacts,
    RunningFacts,
    advice,
    essence,
)
from keruta_agent.cli.tables import display_width

DAEMON = DaemonFacts(
    pid=77, answers=True, uptime_s=3700.0, version="1.2.3", session="s-1", api_away=False
)
RUNNING = RunningFacts(
    job=3,
    task="t3",
    name="build",
    run=1,
    progress=45,
    progress_message="halb",
    running_s=61.0,
    last_line="cc main.c",
    question=None,
    memory_bytes=3 * 1024**2,
    cpu_percent=98.6,
    processes=1,
)
IDLE = Facts(
    base_dir="/base",
    daemon=DAEMON,
    api_url="http://api",
    paused=None,
    current=None,
    waiting=0,
    next=(),
    scheduled=0,
    unclaimed=0,
    due_s=None,
    ended=(),
    pruned=0,
    outbox=OutboxFacts(pending=0, oldest_s=None, parked=0, error=None),
)


def facts(**changes: object) -> Facts:
    return dataclasses.replace(IDLE, **changes)  # type: ignore[arg-type]


@pytest.fixture(autouse=True)
def no_colours(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")


def shown(found: Facts, columns: int | None = None) -> list[str]:
    lines = status_view.lines_of(found, advice(found))
    return status_view.written(lines, columns).splitlines()


def test_idle_agent_is_three_lines() -> None:
    assert shown(IDLE) == [
        "daemon   process 77, up for 1h01m, keruta 1.2.3, session s-1",
        "running  nothing",
        "api      http://api",
        "outbox   empty: the API knows all",
    ]


def test_session_is_waited_for_only_where_there_is_an_api() -> None:
    daemon = dataclasses.replace(DAEMON, session=None)
    assert shown(facts(daemon=daemon))[0].endswith(", session not known yet")
    assert "session" not in shown(facts(daemon=daemon, api_url=None))[0]


def test_what_is_unsent_is_shown_also_where_the_api_is_not_known() -> None:
    outbox = OutboxFacts(pending=2, oldest_s=None, parked=0, error=None)
    assert shown(facts(api_url=None))[-1] == "api      none is configured"
    assert shown(facts(api_url=None, outbox=outbox))[-2:] == [
        "api      none is configured",
        "outbox   2 unsent",
    ]


def test_running_job_shows_bar_age_usage_and_last_line() -> None:
    assert shown(facts(current=RUNNING))[1:5] == [
        "running  job 3, build, 1m01s",
        "         [#########...........] 45 % halb",
        "         3.0 MB, 99 % of a core, 1 process",
        "         last line: cc main.c",
    ]


def test_question_is_shown_with_the_command_that_answers_it() -> None:
    asking = facts(current=dataclasses.replace(RUNNING, question="Name? "))
    assert "         waits for an answer: Name?" in shown(asking)
    assert shown(asking)[-1] == "next     The script waits for an answer: keruta input 3 TEXT"


def test_jobs_that_wait_and_have_ended_are_listed() -> None:
    waiting = tuple(JobFacts(job=number, task=None, name=f"j{number}") for number in (4, 5))
    ended = (
        JobFacts(job=2, task=None, name="lint", outcome="failed", message="a\nb", ended_s=3.0),
    )
    lines = shown(facts(waiting=9, next=waiting, scheduled=1, due_s=12.0, ended=ended))
    assert lines[2:7] == [
        "waiting  job 4, j4",
        "         job 5, j5",
        "         and 7 more",
        "retries  1 to come, the first in 12.0s",
        "ended    job 2, lint, failed 3.0s ago: a",
    ]
    assert lines[-1] == "next     See why the last job failed: keruta explain 2"


def test_agent_without_a_daemon_says_how_to_start_one() -> None:
    lines = shown(facts(daemon=None, waiting=1, current=RUNNING))
    assert lines[0] == "daemon   none runs for /base"
    assert lines[1].endswith(", followed by nobody")
    assert "keruta daemon" in lines[-1]


def test_daemon_that_hangs_is_named() -> None:
    hanging = dataclasses.replace(DAEMON, answers=False, version=None, session=None)
    lines = shown(facts(daemon=hanging))
    assert lines[0] == "daemon   process 77, up for 1h01m, does not answer"
    assert "start it anew" in lines[-1]


def test_api_that_is_away_is_shown_with_what_waits_for_it() -> None:
    outbox = OutboxFacts(pending=12, oldest_s=180.0, parked=1, error="no route")
    away = facts(daemon=dataclasses.replace(DAEMON, api_away=True), outbox=outbox)
    assert shown(away)[2:5] == [
        "api      http://api cannot be reached now",
        "outbox   12 unsent, the oldest for 3m00s: no route",
        "refused  1 that the API did not get",
    ]
    assert [line for line in shown(away) if "keruta health --check-api" in line]


def test_paused_queue_is_shown_with_the_way_on() -> None:
    lines = shown(facts(paused="for lunch"))
    assert lines[1] == "         the queue is paused: for lunch"
    assert lines[-1] == "next     Let jobs start again: keruta queue resume"


def test_text_of_others_cannot_drive_the_terminal() -> None:
    evil = dataclasses.replace(RUNNING, name="x\x1b[2J", last_line="a\x07\nb")
    assert "\x1b" not in "".join(shown(facts(current=evil)))


def test_lines_are_cut_to_the_terminal_and_japanese_counts_twice() -> None:
    long = dataclasses.replace(RUNNING, last_line="日本語" * 40)
    lines = shown(facts(current=long), columns=40)
    assert all(display_width(line) <= 40 for line in lines)
    assert any("日本語" in line for line in lines)


def test_picture_is_drawn_over_the_one_before(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("LINES", "24")
    picture = status_view.Picture()

    picture.draw(status_view.lines_of(IDLE, []))
    first = capsys.readouterr().out
    picture.draw(status_view.lines_of(IDLE, []))
    second = capsys.readouterr().out

    assert not first.startswith("\x1b[")
    assert second.startswith("\x1b[4A")
    assert "\x1b[2J" not in second
    assert second.count("\x1b[K\n") == 4
    assert second.endswith("\x1b[J")


def test_picture_is_no_higher_than_the_terminal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    monkeypatch.setenv("LINES", "3")
    status_view.Picture().draw(status_view.lines_of(IDLE, []))
    assert capsys.readouterr().out.count("\n") == 2


def test_passing_time_alone_is_no_change() -> None:
    later = dataclasses.replace(RUNNING, running_s=99.0, memory_bytes=5, cpu_percent=0.0)
    daemon = dataclasses.replace(DAEMON, uptime_s=9999.0)
    assert essence(facts(current=later, daemon=daemon)) == essence(facts(current=RUNNING))
    further = dataclasses.replace(RUNNING, progress=46)
    assert essence(facts(current=further)) != essence(facts(current=RUNNING))


def test_jobs_that_wait_for_their_claim_are_no_retries():
    text = "\n".join(shown(facts(scheduled=3, unclaimed=1, due_s=12.0)))
    assert "1 job waits until the API takes the claim" in text
    assert "2 to come, the first in 12" in text
    assert "to come" not in "\n".join(shown(facts(scheduled=2, unclaimed=2, due_s=12.0)))
