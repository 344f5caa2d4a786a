"""A record that a script may have written itself is read with suspicion."""

from __future__ import annotations

import json

import pytest

from keruta_agent.agent.run import exit_record

GOOD = {"exit_code": 0, "signal": None, "error": None, "started_at": 1.5, "ended_at": 2}


def parse(**changes: object) -> exit_record.ExitRecord | None:
    return exit_record.parse(json.dumps({**GOOD, **changes}))


def test_what_a_shim_writes_is_read() -> None:
    record = parse(proof="x", swept=2, full="/tmp")
    assert record is not None
    assert (record.exit_code, record.swept, record.full) == (0, 2, "/tmp")


@pytest.mark.parametrize(
    "changes",
    [
        {"exit_code": False},
        {"exit_code": 256},
        {"exit_code": -1},
        {"exit_code": "0"},
        {"exit_code": 0.0},
        {"exit_code": 10**400},
        {"exit_code": None},
        {"exit_code": 0, "signal": 9},
        {"exit_code": 0, "error": "none"},
        {"exit_code": None, "signal": 0},
        {"exit_code": None, "signal": 999},
        {"exit_code": None, "error": 5},
        {"stopped": 1},
        {"swept": True},
        {"full": ["/"]},
        {"started_at": "now"},
        {"ended_at": float("nan")},
        {"ended_at": float("inf")},
        {"user_s": -1},
        {"max_rss_kb": 2**70},
        {"proof": None},
    ],
)
def test_what_no_shim_writes_is_no_record(changes: dict[str, object]) -> None:
    assert parse(**changes) is None


@pytest.mark.parametrize("text", ["", "[]", "null", "{}", "{", "[" * 100_000])
def test_what_is_no_object_is_no_record(text: str) -> None:
    assert exit_record.parse(text) is None


def test_only_the_secret_proves_a_record() -> None:
    secret = exit_record.make_secret()
    digest = exit_record.digest_of(secret)
    proved, forged, bare = parse(proof=secret), parse(proof=digest), parse()
    assert proved is not None and forged is not None and bare is not None
    assert proved.is_proved(digest)
    assert not forged.is_proved(digest)
    assert not bare.is_proved(digest)
    assert not proved.is_proved(None)


def test_run_that_an_older_agent_started_is_believed_as_it_was_then() -> None:
    bare = parse()
    assert bare is not None
    assert bare.is_proved(exit_record.UNPROVED)
