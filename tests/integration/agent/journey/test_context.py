"""What the stages of a run see of it: records that others change, its directory, its log."""

from __future__ import annotations

import json

import pytest

from keruta_agent.agent.journey.agent import Agent
from keruta_agent.agent.journey.context import JobStoppedError, RunContext
from keruta_agent.agent.store.jobs import StopKind, Work


@pytest.fixture
def ctx(agent: Agent) -> RunContext:
    work = Work(script="true", environment={"DB_PASSWORD": "geheim-wie-nie-zuvor"})
    agent.records.jobs.record_script("x", work)
    claimed = agent.records.runs.claim_next()
    assert claimed is not None
    found = RunContext(agent, *claimed)
    found.directory.create()
    return found


def lines(ctx: RunContext) -> list[dict[str, object]]:
    return [json.loads(line) for line in ctx.directory.agent.read_text().splitlines()]


def test_context_of_the_active_run_is_found_again(agent: Agent, ctx: RunContext) -> None:
    found = RunContext.of_active(agent)
    assert found is not None
    assert (found.job, found.run) == (ctx.job, ctx.run)


def test_stop_is_seen_after_a_refresh(agent: Agent, ctx: RunContext) -> None:
    agent.records.jobs.request_stop(ctx.job.id, StopKind.CANCELLED, "enough")
    assert ctx.job.stop_kind is None
    with pytest.raises(JobStoppedError, match="enough") as stopped:
        ctx.raise_if_stopped()
    assert stopped.value.kind is ctx.job.stop_kind is StopKind.CANCELLED


def test_run_that_nobody_stops_goes_on(ctx: RunContext) -> None:
    ctx.raise_if_stopped()
    assert ctx.stop_error().kind is StopKind.AGENT_STOPPED


def test_stage_that_begins_is_stored_and_seen(agent: Agent, ctx: RunContext) -> None:
    ctx.enter("prepare")
    assert ctx.run.stage == agent.records.runs.get(ctx.run.id).stage == "prepare"


def test_line_of_the_log_is_masked_and_named_after_its_section(ctx: RunContext) -> None:
    ctx.log.say("clones with geheim-wie-nie-zuvor", fields={"branch": "main"})
    [line] = lines(ctx)
    assert line["message"] == "workspace: clones with ***"
    assert line["fields"] == {"section": "workspace", "branch": "main"}


def test_warning_that_is_said_once_is_not_said_again(ctx: RunContext) -> None:
    for _ in range(2):
        ctx.log.warn_once("artifacts: a link leads out", section="artifacts", identity="one")
    [line] = lines(ctx)
    assert (line["level"], line["id"]) == ("WARN", "one")


def test_log_that_cannot_be_written_holds_nothing_up(ctx: RunContext, caplog) -> None:
    ctx.directory.agent.unlink(missing_ok=True)
    ctx.directory.agent.mkdir()
    ctx.log.say("said to nobody")
    assert "cannot add to the log" in caplog.text
