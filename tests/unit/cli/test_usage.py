from __future__ import annotations

import pytest

from keruta_agent.agent.store.usage import Usage
from keruta_agent.cli.usage import described, size


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 kB"),
        (1024**2 - 60, "1023.9 kB"),
        (1024**2 - 1, "1.0 MB"),
        (12_900_000, "12.3 MB"),
        (5000 * 1024**4, "5000.0 TB"),
    ],
)
def test_size_is_shown_in_the_unit_that_suits_it(number: int, shown: str) -> None:
    assert size(number) == shown


def test_usage_is_one_line_of_words() -> None:
    usage = Usage(
        elapsed_s=10.0,
        wall_s=10.0,
        user_s=4.0,
        system_s=1.0,
        peak_memory_bytes=80 * 1024**2,
        memory_byte_s=600.0 * 1024**2,
        read_bytes=1_258_291,
        write_bytes=8 * 1024**2,
        peak_processes=3,
        processes_seen=5,
    )
    assert described(usage) == (
        "cpu 5.0s (50 % of a core); memory 80.0 MB at most, 60.0 MB on average; "
        "disk 1.2 MB read, 8.0 MB written; 5 processes, 3 at once"
    )


def test_usage_of_a_short_run_leaves_out_what_nobody_saw() -> None:
    usage = Usage(
        wall_s=0.1, user_s=0.1, peak_memory_bytes=3 * 1024**2, peak_processes=1, processes_seen=1
    )
    assert described(usage) == (
        "cpu 0.1s; memory 3.0 MB at most; disk 0 B read, 0 B written; 1 process"
    )
