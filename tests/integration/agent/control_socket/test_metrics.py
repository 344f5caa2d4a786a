"""What the daemon offers Prometheus, read with Prometheus's own parser."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from keruta_agent.agent.control import metrics
from keruta_agent.agent.journey import run
from keruta_agent.agent.journey.agent import Agent
from keruta_agent.agent.store.jobs import Work
from keruta_agent.core import errors
from keruta_agent.core.model import StatusReport, TaskStatus
from keruta_agent.testing import InMemoryKerutaApi
from tests.helpers.agents import agent_in

Figures = dict[tuple[str, tuple[tuple[str, str], ...]], float]


@pytest.fixture
def api() -> InMemoryKerutaApi:
    return InMemoryKerutaApi()


@pytest.fixture
def agent(tmp_path: Path, api: InMemoryKerutaApi) -> Iterator[Agent]:
    with agent_in(tmp_path, api) as agent:
        yield agent


def figures(agent: Agent) -> Figures:
    """Return each sample of the rendered text by its name and labels."""
    found: Figures = {}
    for family in text_string_to_metric_families(metrics.render(agent)):
        assert family.documentation.endswith("."), family.name
        assert family.type in ("counter", "gauge", "histogram"), family.name
        for sample in family.samples:
            key = (sample.name, tuple(sorted(sample.labels.items())))
            assert key not in found
            found[key] = sample.value
    return found


def value(found: Figures, name: str, **labels: str) -> float:
    return found[(name, tuple(sorted(labels.items())))]


def test_agent_that_did_nothing_has_figures_of_zero(agent: Agent) -> None:
    found = figures(agent)

    for name in (
        "keruta_queue_length",
        "keruta_queue_oldest_seconds",
        "keruta_queue_paused",
        "keruta_running",
        "keruta_outbox_length",
        "keruta_outbox_oldest_seconds",
        "keruta_outbox_parked",
        "keruta_api_retries_total",
        "keruta_run_duration_seconds_count",
    ):
        assert value(found, name) == 0, name
    assert value(found, "keruta_api_up") == 1
    assert value(found, "keruta_api_requests_total", result="unreachable") == 0
    assert value(found, "process_resident_memory_bytes") > 10_000_000
    assert value(found, "process_cpu_seconds_total") > 0
    assert value(found, "process_open_fds") > 3
    assert value(found, "process_start_time_seconds") > 1_600_000_000
    assert [labels for name, labels in found if name == "keruta_build_info"]
    assert not [name for name, _ in found if name.startswith("keruta_current_run")]


def test_ended_runs_are_counted_with_reason_duration_and_bytes(agent: Agent) -> None:
    for script in ("echo hello", "exit 7", "echo oops >&2; exit 7"):
        agent.records.jobs.record_script("job", Work(script=script))
        run.run_next(agent)

    found = figures(agent)

    assert value(found, "keruta_runs_total", outcome="succeeded", reason="") == 1
    assert value(found, "keruta_runs_total", outcome="failed", reason="EXIT_7") == 2
    assert value(found, "keruta_run_duration_seconds_count") == 3
    assert value(found, "keruta_run_duration_seconds_bucket", le="+Inf") == 3
    assert value(found, "keruta_run_duration_seconds_sum") > 0
    assert value(found, "keruta_captured_bytes_total", stream="stdout") == 6
    assert value(found, "keruta_captured_bytes_total", stream="stderr") == 5


def test_buckets_hold_all_runs_that_took_no_longer(agent: Agent) -> None:
    job_id = agent.records.jobs.record_script("job", Work(script="true"))
    run.run_next(agent)
    [ended] = agent.records.runs.of_job(job_id)
    bounds = ("1.0", "5.0", "60.0", "300.0", "43200.0", "+Inf")

    def within() -> list[float]:
        found = figures(agent)
        name = "keruta_run_duration_seconds_bucket"
        return [value(found, name, le=bound) for bound in bounds]

    before = within()
    for seconds in (4.0, 5.0, 61.0, 1e6):
        agent.records.counters.count_end(ended, "", seconds, {})

    added = [after - was for was, after in zip(before, within(), strict=True)]
    assert added == [0, 2, 2, 3, 3, 4]


def test_counts_go_on_in_the_next_agent(tmp_path: Path) -> None:
    for number in (1, 2):
        with agent_in(tmp_path) as agent:
            agent.records.jobs.record_script("job", Work(script="true"))
            run.run_next(agent)
            found = figures(agent)
            assert value(found, "keruta_runs_total", outcome="succeeded", reason="") == number


def test_queue_and_outbox_show_their_length_and_age(agent: Agent, api: InMemoryKerutaApi) -> None:
    for _ in range(3):
        agent.records.jobs.record_script("job", Work(script="true"))
    agent.records.jobs.pause("for a test")
    report = StatusReport(status=TaskStatus.COMPLETED)
    agent.records.outbox.add_status("t", report, run_id=None, key="k")
    with agent.records.database.transaction() as connection:
        connection.execute("UPDATE jobs SET recorded_at = recorded_at - 100 WHERE id = 2")
        connection.execute("UPDATE outbox SET created_at = created_at - 50")

    found = figures(agent)

    assert value(found, "keruta_queue_length") == 3
    assert value(found, "keruta_jobs", state="waiting") == 3
    assert value(found, "keruta_queue_oldest_seconds") >= 100
    assert value(found, "keruta_queue_paused") == 1
    assert value(found, "keruta_outbox_length") == 1
    assert value(found, "keruta_outbox_oldest_seconds") >= 50


def test_api_that_is_away_and_refusals_are_shown(agent: Agent, api: InMemoryKerutaApi) -> None:
    assert agent.outbox_sender is not None
    report = StatusReport(status=TaskStatus.COMPLETED)
    agent.records.outbox.add_status("no-such-task", report, run_id=None, key="refused")
    agent.outbox_sender.deliver(5)
    agent.records.outbox.add_status("t", report, run_id=None, key="delayed")
    api.fail_next("write_status", errors.ApiUnreachable("gone", advice=""))
    agent.outbox_sender.deliver(5)
    # The wait of half a second may be over on a busy machine before it is looked at.
    agent.outbox_sender._words._not_before += 60

    found = figures(agent)

    assert value(found, "keruta_outbox_parked") == 1
    assert value(found, "keruta_outbox_length") == 1
    assert value(found, "keruta_api_up") == 0
    # Two reports, and the test of a write that follows the refused one.
    assert value(found, "keruta_api_requests_total", result="2xx") == 3


def test_current_run_shows_its_progress(agent: Agent) -> None:
    agent.records.jobs.record_script("job", Work(script="true"))
    claimed = agent.records.runs.claim_next()
    assert claimed is not None
    agent.records.runs.report_progress(*claimed, 40, "")

    found = figures(agent)

    assert value(found, "keruta_running") == 1
    assert value(found, "keruta_current_run_progress_percent") == 40


def test_agent_without_an_api_says_nothing_of_one(tmp_path: Path) -> None:
    with agent_in(tmp_path) as agent:
        assert not [name for name, _ in figures(agent) if name.startswith("keruta_api")]
