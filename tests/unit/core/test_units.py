"""Durations and sizes: what is read, what is refused, and that formatting loses nothing."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from marshmallow import ValidationError

from keruta_agent.core import units


@pytest.mark.parametrize(
    ("raw", "seconds"),
    [
        ("30", 30.0),
        ("30s", 30.0),
        ("1m30s", 90.0),
        ("500ms", 0.5),
        ("2h", 7200.0),
        ("7d", 604800.0),
        ("1.5s", 1.5),
        ("0.5", 0.5),
        ("1d2h3m4s5ms", 93784.005),
        ("300ms", 0.3),
        ("90m", 5400.0),
        (" 30S ", 30.0),
        ("0", 0.0),
        ("36500d", 36500 * 86400.0),
        (30, 30.0),
        (0.25, 0.25),
    ],
)
def test_parse_duration_reads(raw: str | int | float, seconds: float) -> None:
    assert units.parse_duration(raw) == seconds


@pytest.mark.parametrize(
    "raw",
    [
        *(
            "",
            " ",
            "s",
            "abc",
            "-5",
            "-5s",
            "+5s",
            "5x",
            "5 s",
            "1,5s",
            "1e3",
            "inf",
            "nan",
            "３０",
        ),
        *(
            "30s1m",
            "1s1s",
            "1h 30m",
            "5w",
            "1.s",
            ".5s",
            "30s\n1m",
            "36501d",
            "9" * 400,
            "9" * 5000,
        ),
        *(-1, -0.1, math.inf, math.nan, 10**400, True),
    ],
)
def test_parse_duration_refuses_with_an_example(raw: str | int | float) -> None:
    with pytest.raises(ValueError, match=r"such as 30 .* 1m30s"):
        units.parse_duration(raw)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0, "0s"),
        (0.5, "500ms"),
        (1.5, "1.5s"),
        (30.0, "30s"),
        (90.0, "1m30s"),
        (3600.0, "1h"),
        (604800.0, "7d"),
        (1e-05, "0.00001s"),
    ],
)
def test_format_duration_writes_the_short_form(seconds: float, text: str) -> None:
    assert units.format_duration(seconds) == text


@given(st.floats(min_value=0, max_value=units.LONGEST_DURATION_S))
def test_duration_survives_the_round_trip(seconds: float) -> None:
    assert units.parse_duration(units.format_duration(seconds)) == seconds


@given(st.integers(min_value=0, max_value=86_400_000))
def test_duration_of_whole_milliseconds_survives_the_round_trip(milliseconds: int) -> None:
    seconds = units.parse_duration(f"{milliseconds}ms")
    assert seconds == milliseconds / 1000
    assert units.parse_duration(units.format_duration(seconds)) == seconds


@given(st.text() | st.from_regex(r"[0-9.]{1,6}(d|h|m|s|ms)?", fullmatch=True))
def test_parse_duration_gives_finite_seconds_or_a_value_error(raw: str) -> None:
    try:
        seconds = units.parse_duration(raw)
    except ValueError as error:
        assert "It must be a duration" in str(error)
    else:
        assert 0 <= seconds <= units.LONGEST_DURATION_S


@pytest.mark.parametrize(
    ("raw", "size"),
    [
        ("0", 0),
        ("17", 17),
        ("17B", 17),
        ("64K", 65536),
        ("64kb", 65536),
        ("64KiB", 65536),
        ("100MB", 104857600),
        ("100 MB", 104857600),
        ("100M", 104857600),
        ("1.5GB", 1610612736),
        ("1GiB", 1073741824),
        ("0.1KB", 102),
        ("9223372036854775807", 2**63 - 1),
        (104857600, 104857600),
        (1e6, 1000000),
    ],
)
def test_parse_size_reads(raw: str | int | float, size: int) -> None:
    assert units.parse_size(raw) == size


@pytest.mark.parametrize(
    "raw",
    [
        *("", "MB", "-1", "-1MB", "1.5", "1.5B", "1XB", "1e6", "1_000", "1,5MB", "inf", "１MB"),
        *("9223372036854775808", "9" * 5000, "9" * 5000 + "GB"),
        *(-1, 1.5, math.inf, math.nan, 2**63, True),
    ],
)
def test_parse_size_refuses_with_an_example(raw: str | int | float) -> None:
    with pytest.raises(ValueError, match="such as 100MB"):
        units.parse_size(raw)


@pytest.mark.parametrize(
    ("size", "text"),
    [(0, "0B"), (1536, "1536B"), (2048, "2KB"), (104857600, "100MB"), (2**40, "1024GB")],
)
def test_format_size_writes_the_largest_whole_unit(size: int, text: str) -> None:
    assert units.format_size(size) == text


@given(
    st.integers(min_value=0, max_value=units.LARGEST_SIZE)
    | st.integers(min_value=0, max_value=4096).map(lambda count: count * 1024**2)
)
def test_size_survives_the_round_trip(size: int) -> None:
    assert units.parse_size(units.format_size(size)) == size


def test_duration_field_names_its_bounds() -> None:
    field = units.Duration(minimum_s=0.1, maximum_s=86_400.0)
    assert field.deserialize("100ms") == 0.1
    for raw in ("99ms", "2d"):
        with pytest.raises(ValidationError, match="from 100ms to 1d"):
            field.deserialize(raw)


@pytest.mark.parametrize("field", [units.Duration(), units.Size()], ids=["duration", "size"])
@pytest.mark.parametrize("raw", [["30"], {"s": 30}, True, b"30"])
def test_unit_fields_refuse_other_types(field: units.Duration | units.Size, raw: object) -> None:
    with pytest.raises(ValidationError, match="such as"):
        field.deserialize(raw)
