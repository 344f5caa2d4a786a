from __future__ import annotations

import pytest

from keruta_agent.agent.store.jobs import Work
from keruta_agent.agent.store.run import Run
from keruta_agent.agent.store.store import Records
from keruta_agent.agent.store.usage import MOST_SAMPLES, Sample, Usage


@pytest.fixture
def run(records: Records) -> Run:
    records.jobs.record_script("job", Work(script="true"))
    claimed = records.runs.claim_next()
    assert claimed is not None
    return claimed[1]


def sample(elapsed_s: float, *, memory: int = 1000, cpu: float = 50.0) -> Sample:
    return Sample(elapsed_s=elapsed_s, cpu_percent=cpu, memory_bytes=memory)


def test_usage_is_what_was_stored_last(records: Records, run: Run) -> None:
    assert records.usages.get(run.id) is None
    for peak in (5, 7):
        records.usages.put(run.id, Usage(elapsed_s=2.0, peak_memory_bytes=peak, memory_byte_s=8.0))

    stored = records.usages.get(run.id)
    assert stored == Usage(elapsed_s=2.0, peak_memory_bytes=7, memory_byte_s=8.0)
    assert stored is not None and stored.average_memory_bytes == 4


def test_average_of_a_run_that_was_never_looked_at_is_not_known() -> None:
    assert Usage(peak_memory_bytes=1000).average_memory_bytes is None


def test_series_stays_bounded_and_keeps_peaks_and_ends(records: Records, run: Run) -> None:
    thinned = 0
    for second in range(4 * MOST_SAMPLES):
        memory = 9_000_000 if second == 123 else second
        thinned += records.usages.add_sample(run.id, sample(float(second), memory=memory))
        if second % 50 == 0:
            assert len(records.usages.samples(run.id)) <= MOST_SAMPLES

    kept = records.usages.samples(run.id)
    assert thinned > 3
    assert max(each.memory_bytes for each in kept) == 9_000_000
    assert kept[-1].elapsed_s == 4 * MOST_SAMPLES - 1
    assert [each.elapsed_s for each in kept] == sorted(each.elapsed_s for each in kept)
    assert {each.cpu_percent for each in kept} == {50.0}


def test_series_belong_to_one_run(records: Records, run: Run) -> None:
    records.usages.add_sample(run.id, sample(1.0))
    assert records.usages.samples(run.id + 1) == []


def test_counters_grow_and_outlive_their_process(records: Records) -> None:
    records.counters.add("bytes", ("stdout",), 5)
    records.counters.add("bytes", ("stdout",), 6)
    records.counters.add("bytes", ('日本語 "x"',))

    again = Records.open(records.database.path.parent)
    assert again.counters.get("bytes") == {("stdout",): 11.0, ('日本語 "x"',): 1.0}
    again.close()
