"""When a job is tried again: after which ends, how often, and after how long."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from keruta_agent.agent.journey import retry
from keruta_agent.agent.journey.retry import RetryRule, reasons_of, rule_for
from keruta_agent.agent.store.jobs import Job, JobState, Work
from keruta_agent.agent.store.run import Outcome, Run, RunResult
from keruta_agent.agent.store.store import Records
from keruta_agent.core.model import Task
from tests.helpers.agents import settings_in


@pytest.fixture
def records(tmp_path: Path):
    records = Records.open(tmp_path / "base")
    yield records
    records.close()


@pytest.fixture
def settings(tmp_path: Path):
    return settings_in(tmp_path, retry_count="3", retry_delay_s="2s")


def filed(records: Records, parameters: dict[str, Any]) -> Job:
    job_id = records.jobs.record_task(
        Task(id="t-1", session_id="s", name="n", script="true", parameters=parameters)
    )
    job = records.jobs.get(job_id)
    assert job is not None
    return job


def ended(records: Records, outcome: Outcome, *, runs: int = 1, **ending: Any) -> Run:
    """Return the last of some runs of the job, which ended like this."""
    records.jobs.record_task(Task(id="t-1", session_id="s", name="n", script="true"))
    for _ in range(runs):
        job, run = records.runs.claim_next()
        records.runs.commit(run.id, shim="1 1 boot", exit_digest="d", launched_at=0.0)
        records.runs.end(
            job, run, RunResult(outcome=outcome, message="", **ending), job_state=JobState.FAILING
        )
        records.jobs.schedule(job.id, -1)
        records.jobs.wake_due()
    return records.runs.get(run.id)


@pytest.mark.parametrize(
    ("outcome", "ending", "names"),
    [
        (Outcome.FAILED, {"exit_code": 75}, {"exit", "exit:75"}),
        (Outcome.KILLED, {"signal": 9}, {"signal", "signal:9"}),
        (Outcome.TIMED_OUT, {}, {"timeout"}),
        (Outcome.LOST, {}, {"lost"}),
        (Outcome.OUT_OF_MEMORY, {}, {"oom"}),
        (Outcome.DISK_FULL, {"exit_code": 75}, {"disk_full", "exit", "exit:75"}),
        (Outcome.DISK_FULL, {"signal": 7}, {"disk_full", "signal", "signal:7"}),
        (Outcome.NOT_STARTED, {}, {"not_started"}),
        (Outcome.AGENT_STOPPED, {}, {"stopped"}),
        (Outcome.CANCELLED, {}, set()),
        (Outcome.REFUSED, {}, set()),
        (Outcome.QUARANTINED, {}, set()),
        (Outcome.SUCCEEDED, {}, set()),
    ],
)
def test_each_end_has_its_names_in_a_rule(records, outcome, ending, names):
    assert reasons_of(ended(records, outcome, **ending)) == names


@pytest.mark.parametrize(
    ("on", "exit_code", "again"),
    [
        (["exit:75"], 75, True),
        (["exit:75"], 1, False),
        (["exit"], 1, True),
        (["timeout", "lost"], 1, False),
        ([], 1, False),
    ],
)
def test_rule_names_the_exit_codes_that_are_worth_another_try(
    records, settings, on, exit_code, again
):
    rule = rule_for(filed(records, {"retry": {"count": 1, "on": on}}), settings)
    assert rule.allows(ended(records, Outcome.FAILED, exit_code=exit_code)) is again


@pytest.mark.parametrize("outcome", [Outcome.NOT_STARTED, Outcome.AGENT_STOPPED])
def test_end_that_another_try_would_not_change_needs_to_be_named(records, settings, outcome):
    run = ended(records, outcome)
    named = {"count": 1, "on": ["not_started", "stopped"]}
    assert not rule_for(filed_again(records, {}), settings).allows(run)
    assert rule_for(filed_again(records, {"retry": named}), settings).allows(run)


def filed_again(records: Records, parameters: dict[str, Any]) -> Job:
    job = records.jobs.by_task("t-1")
    return dataclasses.replace(job, work=Work(script="true", parameters=parameters))


@pytest.mark.parametrize("outcome", [Outcome.CANCELLED, Outcome.REFUSED, Outcome.QUARANTINED])
def test_end_that_somebody_wanted_is_never_tried_again(records, settings, outcome):
    everything = [*retry.REASONS, retry.REPORTED]
    run = ended(records, outcome)
    job = filed_again(records, {"retry": {"count": 100, "on": everything}})
    assert not rule_for(job, settings).allows(run)


@pytest.mark.parametrize(("runs", "again"), [(1, True), (2, True), (3, False)])
def test_job_is_tried_again_as_often_as_the_rule_says(records, settings, runs, again):
    run = ended(records, Outcome.FAILED, runs=runs, exit_code=1)
    assert rule_for(filed_again(records, {"retry": 2}), settings).allows(run) is again


@pytest.mark.parametrize(
    ("own", "count", "delay_s"),
    [
        (None, 3, 2.0),
        (0, 0, 2.0),
        (False, 0, 2.0),
        (7, 7, 2.0),
        ({}, 3, 2.0),
        ({"count": 5, "delay": "1m30s"}, 5, 90.0),
        ({"delay": 0.5}, 3, 0.5),
        ({"delay": "250ms"}, 3, 0.25),
    ],
)
def test_rule_of_a_task_goes_before_the_settings(records, settings, own, count, delay_s):
    rule = rule_for(filed(records, {} if own is None else {"retry": own}), settings)
    assert (rule.count, rule.delay_s) == (count, delay_s)
    assert rule.on == retry.DEFAULT_REASONS


@pytest.mark.parametrize(
    ("own", "reported"),
    [
        (True, "not true"),
        (-1, "whole number"),
        (101, "whole number"),
        (1.5, "whole number"),
        ("3", "whole number"),
        ([1], "whole number"),
        ({"count": True}, "not true"),
        ({"count": "many"}, "whole number"),
        ({"on": "timeout"}, "list"),
        ({"on": [75]}, "list"),
        ({"on": ["exit:"]}, "exit:"),
        ({"on": ["exit:x"]}, "exit:x"),
        ({"on": ["timeout:5"]}, "timeout:5"),
        ({"on": ["sometimes"]}, "sometimes"),
        ({"on": ["cancelled"]}, "cancelled"),
        ({"delay": "soon"}, "duration"),
        ({"delay": -1}, "duration"),
        ({"delay": True}, "duration"),
        ({"delay": [1]}, "duration"),
    ],
)
def test_invalid_rule_says_why(records, settings, own, reported):
    with pytest.raises(ValueError, match=reported):
        rule_for(filed(records, {"retry": own}), settings)


def test_script_from_the_command_line_is_tried_again_only_if_it_was_asked_for(records, settings):
    job_id = records.jobs.record_script("mine", Work(script="false"))
    assert rule_for(records.jobs.get(job_id), settings).count == 0
    asked_id = records.jobs.record_script("mine", Work(script="x", parameters={"retry": 2}))
    assert rule_for(records.jobs.get(asked_id), settings).count == 2


def test_wait_doubles_from_run_to_run_within_its_jitter(records):
    rule = RetryRule(count=100, delay_s=2.0)
    first = ended(records, Outcome.FAILED, exit_code=1)
    third = ended(records, Outcome.FAILED, exit_code=1, runs=2)
    assert third.number == 3
    for run, middle in ((first, 2.0), (third, 8.0)):
        waits = [rule.wait_s(run) for _ in range(300)]
        assert all(0.75 * middle <= wait <= 1.25 * middle for wait in waits)
        assert max(waits) - min(waits) > 0.2 * middle, "not all are to come back at once"


def test_wait_does_not_grow_for_ever(records):
    run = ended(records, Outcome.FAILED, exit_code=1, runs=30)
    assert RetryRule(count=100, delay_s=1.0).wait_s(run) <= 1.25 * retry.LONGEST_WAIT_S


def test_delay_that_is_longer_than_usual_is_kept(records):
    run = ended(records, Outcome.FAILED, exit_code=1)
    assert RetryRule(count=1, delay_s=3600).wait_s(run) >= 0.75 * 3600


def test_run_that_the_records_lost_is_tried_again_only_if_its_rule_names_that(records, settings):
    job = filed(records, {})
    asking = dataclasses.replace(job, work=Work(parameters={"retry": {"count": 1, "on": ["lost"]}}))
    lost = dataclasses.replace(ended(records, Outcome.LOST), exit_digest=None)
    assert not rule_for(job, settings).allows(lost)
    assert rule_for(asking, settings).allows(lost)
