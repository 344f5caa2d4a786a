"""What the daemon says about itself to Prometheus: the text of ``/metrics``.

Runs, durations and bytes come from the agent's database and only grow, whatever is restarted or
removed. Requests to the API and the figures of the process are those of this process. The
library is imported at the first scrape: most agents are never asked.
"""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

from keruta_agent import __version__
from keruta_agent.agent.journey.agent import Agent
from keruta_agent.agent.run.directory import CLOCK_TICKS_A_SECOND
from keruta_agent.agent.store import counters
from keruta_agent.agent.store.jobs import JobState
from keruta_agent.core.boot_clock import boot_seconds
from keruta_agent.core.model import ApiCalls
from keruta_agent.core.process_tree.proc import process_state

if TYPE_CHECKING:
    from prometheus_client.core import Metric

#: The content type of what ``render`` returns.
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"
#: Ends of requests that are always shown, so that a rate can be taken from the first one on.
_RESULTS: Final = ("2xx", "3xx", "4xx", "5xx", "unreachable", "lost")
_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")


def render(agent: Agent) -> str:
    """Return the agent's metrics in the text format of Prometheus, version 0.0.4."""
    from prometheus_client.exposition import generate_latest
    from prometheus_client.registry import Collector, CollectorRegistry

    class Figures(Collector):
        def collect(self) -> Iterator[Metric]:
            yield from _runs(agent)
            yield from _jobs(agent)
            yield from _current_run(agent)
            yield from _outbox(agent)
            yield from _api(agent)
            yield from _process()

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Figures())
    return generate_latest(registry).decode("utf-8")


def _runs(agent: Agent) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

    runs = CounterMetricFamily("keruta_runs", "Runs that have ended.", labels=("outcome", "reason"))
    for labels, value in agent.records.counters.get(counters.RUNS).items():
        runs.add_metric(labels, value)
    yield runs
    seconds = agent.records.counters.get(counters.SECONDS).get((), 0.0)
    yield HistogramMetricFamily(
        "keruta_run_duration_seconds",
        "How long ended runs took.",
        buckets=_cumulated(agent.records.counters.get(counters.DURATIONS)),
        sum_value=seconds,
    )
    captured = CounterMetricFamily(
        "keruta_captured_bytes", "Bytes that scripts wrote and the agent took.", labels=("stream",)
    )
    active = agent.records.runs.active()
    now = {} if active is None else agent.records.runs.offsets(active[1].id)
    ended = agent.records.counters.get(counters.BYTES)
    for stream in ("stdout", "stderr"):
        captured.add_metric((stream,), ended.get((stream,), 0.0) + now.get(stream, 0))
    yield captured


def _cumulated(durations: Mapping[tuple[str, ...], float]) -> list[tuple[str, float]]:
    """Return how many runs took no longer than each bound."""
    buckets = []
    number = 0.0
    for bound in (*map(str, counters.BOUNDS_S), "+Inf"):
        number += durations.get((bound,), 0.0)
        buckets.append((bound, number))
    return buckets


def _jobs(agent: Agent) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily

    jobs = GaugeMetricFamily("keruta_jobs", "Jobs that have not ended.", labels=("state",))
    counts = agent.records.jobs.counts()
    for state in JobState:
        if state is not JobState.FINISHED:
            jobs.add_metric((state.value,), counts[state])
    yield jobs
    yield GaugeMetricFamily(
        "keruta_queue_length", "Jobs that wait for their turn.", counts[JobState.WAITING]
    )
    yield GaugeMetricFamily(
        "keruta_queue_oldest_seconds",
        "For how long the oldest job has waited for its turn.",
        _age(agent.records.jobs.oldest_waiting()),
    )
    yield GaugeMetricFamily(
        "keruta_queue_paused",
        "1 while no further job is started.",
        int(agent.records.jobs.pause_reason() is not None),
    )


def _current_run(agent: Agent) -> Iterator[Metric]:
    """Yield the metrics of the active run; nothing without one."""
    from prometheus_client.core import GaugeMetricFamily

    active = agent.records.runs.active()
    yield GaugeMetricFamily("keruta_running", "1 while a script runs.", int(active is not None))
    if active is None:
        return
    run = active[1]
    yield GaugeMetricFamily(
        "keruta_current_run_progress_percent", "What its script says.", run.progress
    )
    if run.launched_at is not None:
        yield GaugeMetricFamily(
            "keruta_current_run_seconds",
            "For how long the script has run.",
            max(0.0, boot_seconds() - run.launched_at),
        )
    usage = agent.records.usages.get(run.id)
    if usage is not None:
        yield GaugeMetricFamily(
            "keruta_current_run_memory_bytes",
            "Memory of all its processes.",
            usage.memory_bytes,
        )
        yield GaugeMetricFamily(
            "keruta_current_run_cpu_seconds",
            "Processor time of all its processes.",
            usage.user_s + usage.system_s,
        )
        yield GaugeMetricFamily("keruta_current_run_processes", "Its processes.", usage.processes)


def _outbox(agent: Agent) -> Iterator[Metric]:
    from prometheus_client.core import GaugeMetricFamily

    outbox = agent.records.outbox.counts()
    yield GaugeMetricFamily(
        "keruta_outbox_length", "Messages that have yet to be sent to the API.", outbox.pending
    )
    yield GaugeMetricFamily(
        "keruta_outbox_oldest_seconds", "For how long the oldest has waited.", _age(outbox.oldest)
    )
    yield GaugeMetricFamily(
        "keruta_outbox_parked",
        "Messages that the API will never take: dead letters.",
        outbox.dead_letters,
    )


def _api(agent: Agent) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    if agent.api is None or agent.outbox_sender is None:
        return
    calls: ApiCalls = agent.api.call_counts()
    requests = CounterMetricFamily(
        "keruta_api_requests", "Requests to the keruta API by their result.", labels=("result",)
    )
    for result in dict.fromkeys((*_RESULTS, *calls.results)):
        requests.add_metric((result,), calls.results.get(result, 0))
    yield requests
    yield CounterMetricFamily(
        "keruta_api_retries", "Reads from the API that were tried once more.", calls.retries
    )
    yield GaugeMetricFamily(
        "keruta_api_up",
        "0 while what is to be sent waits for the API to come back.",
        int(not agent.outbox_sender.api_is_away),
    )


def _process() -> Iterator[Metric]:
    """Yield the figures of this very process, under the names that all exporters use."""
    from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

    build = GaugeMetricFamily(
        "keruta_build_info", "1, with the versions.", labels=("version", "python")
    )
    build.add_metric((__version__, platform.python_version()), 1)
    yield build
    pages = int(Path("/proc/self/statm").read_bytes().split()[1])
    yield GaugeMetricFamily(
        "process_resident_memory_bytes", "Resident memory size in bytes.", pages * _PAGE_BYTES
    )
    used = os.times()
    yield CounterMetricFamily(
        "process_cpu_seconds",
        "Total user and system CPU time spent in seconds.",
        used.user + used.system,
    )
    found = process_state(os.getpid())
    if found is not None:
        age_s = boot_seconds() - found[1] / CLOCK_TICKS_A_SECOND
        yield GaugeMetricFamily(
            "process_start_time_seconds",
            "Start time of the process since unix epoch in seconds.",
            time.time() - age_s,
        )
    yield GaugeMetricFamily(
        "process_open_fds",
        "Number of open file descriptors.",
        len(list(Path("/proc/self/fd").iterdir())),
    )


def _age(unix_time: float | None) -> float:
    return 0.0 if unix_time is None else max(0.0, time.time() - unix_time)
