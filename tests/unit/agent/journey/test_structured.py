"""Lines in JSON that are entries of a log, and the many that only look so."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keruta_agent.agent.delivery import structured
from keruta_agent.core.model import LogLevel


@pytest.mark.parametrize(
    ("line", "level", "message", "fields"),
    [
        ('{"level": "warn", "message": "低い"}', "WARN", "低い", {}),
        ('  {"lvl":"dbug","msg":"x"} ', None, "", {}),
        ('{"lvl":"DEBUG","msg":"x","n":1}', "DEBUG", "x", {"n": 1}),
        ('{"severity":"WARNING","message":"gcp","a":{"b":[1]}}', "WARN", "gcp", {"a": {"b": [1]}}),
        ('{"levelname":"CRITICAL","message":"py"}', "FATAL", "py", {}),
        ('{"log.level":"error","message":"ecs","service.name":"x"}', "ERROR", "ecs", None),
        ('{"level":50,"msg":"pino","pid":1}', "ERROR", "pino", {"pid": 1}),
        ('{"event":"structlog","level":"info"}', "INFO", "structlog", {}),
        ('{"level":"notice","message":"m","msg":"both"}', "INFO", "m", {"msg": "both"}),
        ('{"level":"error","message":"a\\nb"}', "ERROR", "a\nb", {}),
    ],
)
def test_entry_of_a_structured_log_is_recognised(line, level, message, fields) -> None:
    found = structured.recognise(line)
    if level is None:
        assert found is None
        return
    assert found is not None
    assert (found.level, found.message) == (LogLevel(level), message)
    assert fields is None or found.fields == fields


@pytest.mark.parametrize(
    "line",
    [
        *("", "{", "{}", "[]", "null", '"text"', "{'level': 'info', 'message': 'python'}"),
        '{"message":"no level"}',
        '{"level":"info"}',
        '{"level":"high","message":"of water"}',
        '{"level":3,"message":"a floor"}',
        '{"level":true,"message":"x"}',
        '{"level":null,"message":"x"}',
        '{"level":["info"],"message":"x"}',
        '{"level":"info","message":{"nested":1}}',
        '{"level":"info","message":"twice","a":1,"a":2}',
        '{"level":"info","message":"nan","a":NaN}',
        '{"level":"info","message":"inf","a":1e999}',
        '{"level":"info","message":"half a surrogate \\ud800"}',
        '{"level":"info","message":"x"} trailing }',
        '{"level":"info","message":"deep","a":' + "[" * 30 + "]" * 30 + "}",
        '{"level":"info","message":"bomb","a":' + "[" * 30_000 + "]" * 30_000 + "}",
        '{"a":' * 10_000 + "1" + "}" * 10_000,
        '{"level":"info","message":"huge","a":' + "9" * 5_000 + "}",
    ],
    ids=lambda line: line[:40],
)
def test_anything_else_stays_text(line: str) -> None:
    assert structured.recognise(line) is None


@given(st.text() | st.text().map(lambda text: "{" + text + "}"))
def test_no_line_is_an_exception(line: str) -> None:
    found = structured.recognise(line)
    assert found is None or isinstance(json.loads(line), dict)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)


@given(st.dictionaries(st.text(min_size=1), VALUES, max_size=5))
def test_fields_can_be_written_as_json_whatever_they_are(fields: dict[str, object]) -> None:
    found = structured.recognise(json.dumps({**fields, "level": "info", "message": "x"}))
    for travelling in (structured.safe_fields(fields), found.fields if found else {}):
        text = json.dumps(travelling, allow_nan=False, ensure_ascii=False)
        assert json.loads(text.encode()) == travelling
