"""JSON of strangers: counted before it takes memory."""

import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keruta_agent.core import bounded_json

VALUES = st.recursive(
    st.none() | st.integers() | st.text(alphabet='a",[{\\\u00e9'),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(alphabet='b,"'), inner),
    max_leaves=30,
)


@given(VALUES)
def test_what_is_small_is_read_as_ever(value: object) -> None:
    for text in (json.dumps(value), json.dumps(value).encode(), json.dumps(value).encode("utf-16")):
        assert bounded_json.loads(text) == value


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-32"])
@pytest.mark.parametrize(
    "document",
    [
        "[" + "{}," * 1000 + "{}]",
        "[" + "[]," * 1000 + "0]",
        "[" * 500 + "1,2,3" + "]" * 500,
        '{"a": [' + "0," * 1000 + "0]}",
        '["\\"", ' + '"",' * 1000 + '""]',
    ],
)
def test_too_many_values_are_refused_before_they_are_made(document: str, encoding: str) -> None:
    with pytest.raises(bounded_json.TooManyValuesError, match="more than 100 values"):
        bounded_json.loads(document.encode(encoding), most_values=100)


def test_what_stands_in_text_is_no_value() -> None:
    text = json.dumps({"script": 'a,[{"' * 1000 + "\\"})
    assert bounded_json.loads(text, most_values=10) == json.loads(text)


@pytest.mark.parametrize("piece", ['"', '\\"', '"\\', "[", "{", '","'])
def test_hostile_text_is_refused_in_linear_time(piece: str) -> None:
    # Quadratic time would not end within the limit that each test has.
    with pytest.raises(ValueError, match=r"."):
        bounded_json.loads("[" * 20 + '"' + piece * 1_000_000, most_values=10)


def test_refusal_costs_little_memory() -> None:
    document = "[" + "{}," * 2_000_000 + "{}]"
    tracemalloc.start()
    with pytest.raises(bounded_json.TooManyValuesError):
        bounded_json.loads(document)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * len(document)


def test_what_is_nested_too_deeply_is_no_json() -> None:
    with pytest.raises(ValueError, match="nested too deeply"):
        bounded_json.loads("[" * 50_000)
