"""What a run uses: measured while it is followed, reported when it has ended.

The exit record knows the processor time, the disk and the largest process exactly, but only at
the end; the looks here know the memory of all processes together, how many there are, and how it
went. A look costs processor time that the script could use, so looks get rarer the longer a run
takes and the more they cost.
"""

from __future__ import annotations

import dataclasses
import logging
import sqlite3
import time
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

from keruta_agent.agent.journey.context import RunContext
from keruta_agent.agent.run.directory import ProcessId
from keruta_agent.agent.run.exit_record import ExitRecord
from keruta_agent.agent.run.resources.usage import Reading, UsageReader
from keruta_agent.agent.store.run import Run
from keruta_agent.agent.store.usage import Sample, Usage
from keruta_agent.core.boot_clock import boot_seconds
from keruta_agent.core.wire import format_date

logger = logging.getLogger(__name__)

#: Age of a script at which it is looked at for the first time: many have ended by then.
FIRST_LOOK_S: Final = 0.25
#: Seconds between looks at a long run: a peak of memory that lasts must not go unseen.
RAREST_LOOK_S: Final = 15.0
#: A look that took this part of the time since the one before is too expensive.
COST_SHARE: Final = 1 / 300
BLOCK_BYTES: Final = 512


class Meter:
    """The meter of one run's processes, which looks at them now and then."""

    def __init__(self, ctx: RunContext, shim: ProcessId) -> None:
        self._records = ctx.records
        self._run_id = ctx.run.id
        self._shim = shim
        self._directory = ctx.directory
        self._started_at: float | None = None
        self._reader: UsageReader | None = None
        self._usage = Usage()
        #: Seconds since boot of the next look.
        self._due = 0.0
        #: Age of the script at the last point of the series, and the most memory since.
        self._last_point_s = 0.0
        self._highest = 0

    def look(self) -> None:
        """Look, if it is time to."""
        now = boot_seconds()
        if now < self._due:
            return
        if self._started_at is None:
            self._begin(now)
            return
        if self._reader is None:
            return
        cost = time.thread_time()
        self._store(_added(self._usage, self._reader.read(), boot_seconds() - self._started_at))
        cost = time.thread_time() - cost
        wait_s = max(min(self._usage.spacing_s, RAREST_LOOK_S), cost / COST_SHARE)
        self._due = now + wait_s

    def _begin(self, now: float) -> None:
        script = self._directory.read_process()
        if script is None:
            self._due = now + FIRST_LOOK_S
            return
        # The script can write there; it began neither before its shim nor later than now.
        self._started_at = min(max(script.started_at, self._shim.started_at), now)
        self._usage = self._records.usages.get(self._run_id) or Usage()
        self._last_point_s = self._usage.elapsed_s
        counted_until = self._started_at + self._usage.elapsed_s
        self._reader = UsageReader(self._shim.pid, counted_until=counted_until)
        self._due = max(now, self._started_at + FIRST_LOOK_S)

    def _store(self, usage: Usage) -> None:
        self._highest = max(self._highest, usage.memory_bytes)
        is_point = usage.elapsed_s - self._last_point_s >= usage.spacing_s * 0.9
        try:
            with self._records.database.transaction(durable=False):
                if is_point:
                    usage = self._with_point(usage)
                self._records.usages.put(self._run_id, usage)
        except sqlite3.OperationalError as exc:  # the disk may be full; the script goes on
            logger.debug("cannot store a measurement: %s", exc, extra={"action": "not_measured"})
            return
        self._usage = usage
        if is_point:
            self._last_point_s = usage.elapsed_s
            self._highest = 0

    def _with_point(self, usage: Usage) -> Usage:
        sample = Sample(
            elapsed_s=round(usage.elapsed_s, 1),
            cpu_percent=round(usage.cpu_percent, 1),
            memory_bytes=self._highest,
        )
        if self._records.usages.add_sample(self._run_id, sample):
            return dataclasses.replace(usage, spacing_s=usage.spacing_s * 2)
        return usage


def _added(before: Usage, reading: Reading, elapsed_s: float) -> Usage:
    """Measure once more and return the usage."""
    passed_s = elapsed_s - before.elapsed_s
    # Of a process that ended during the look nothing was seen; the next look has it.
    user_s = max(before.user_s, reading.user_s)
    system_s = max(before.system_s, reading.system_s)
    used_s = user_s + system_s - before.user_s - before.system_s
    return dataclasses.replace(
        before,
        elapsed_s=elapsed_s,
        user_s=user_s,
        system_s=system_s,
        cpu_percent=100 * used_s / passed_s if passed_s > 0 else before.cpu_percent,
        memory_bytes=reading.memory_bytes,
        peak_memory_bytes=max(before.peak_memory_bytes, reading.memory_bytes),
        memory_byte_s=before.memory_byte_s + reading.memory_bytes * max(0.0, passed_s),
        read_bytes=before.read_bytes + reading.read_bytes,
        write_bytes=before.write_bytes + reading.write_bytes,
        processes=reading.processes,
        peak_processes=max(before.peak_processes, reading.processes),
        processes_seen=before.processes_seen + reading.new_processes,
    )


def settle(ctx: RunContext, record: ExitRecord | None) -> Usage | None:
    """Store and return the total usage of an ended run; None when it is unknown.

    What the exit record says is exact; nobody looked at a short script but the kernel.
    """
    usage = ctx.records.usages.get(ctx.run.id)
    if usage is None and (record is None or record.error is not None):
        return None
    usage = dataclasses.replace(usage or Usage(), cpu_percent=0.0, memory_bytes=0, processes=0)
    if record is None:
        usage = dataclasses.replace(usage, wall_s=usage.elapsed_s)
    else:
        usage = dataclasses.replace(
            usage,
            wall_s=max(0.0, record.ended_at - record.started_at),
            user_s=max(usage.user_s, record.user_s),
            system_s=max(usage.system_s, record.system_s),
            peak_memory_bytes=max(usage.peak_memory_bytes, record.max_rss_kb * 1024),
            read_bytes=max(usage.read_bytes, record.blocks_in * BLOCK_BYTES),
            write_bytes=max(usage.write_bytes, record.blocks_out * BLOCK_BYTES),
            peak_processes=max(usage.peak_processes, 1),
            processes_seen=max(usage.processes_seen, 1),
        )
    ctx.records.usages.put(ctx.run.id, usage)
    return usage


def payload(
    usage: Usage, samples: Sequence[Sample], run: Run, record: ExitRecord | None
) -> Mapping[str, Any]:
    """Return the report to the API: the names of its contract first, then the agent's own."""
    return {
        "durationMs": round((usage.wall_s or 0.0) * 1000),
        "cpuUserMs": round(usage.user_s * 1000),
        "cpuSystemMs": round(usage.system_s * 1000),
        "maxRssKb": usage.peak_memory_bytes // 1024 if record is None else record.max_rss_kb,
        "exitCode": None if record is None else record.exit_code,
        "timestamp": format_date(datetime.now(UTC)),
        "run": run.number,
        "peakMemoryBytes": usage.peak_memory_bytes,
        "averageMemoryBytes": usage.average_memory_bytes,
        "readBytes": usage.read_bytes,
        "writeBytes": usage.write_bytes,
        "peakProcesses": usage.peak_processes,
        "processesSeen": usage.processes_seen,
        # One list a quantity, point by point: half the bytes of a list of objects.
        "series": {
            "elapsedS": [sample.elapsed_s for sample in samples],
            "cpuPercent": [sample.cpu_percent for sample in samples],
            "memoryBytes": [sample.memory_bytes for sample in samples],
        },
    }
