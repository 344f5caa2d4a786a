"""What a model asks to see, as it writes it down."""

from __future__ import annotations

import pytest

from keruta_agent.core.coding.model import LookRequest
from keruta_agent.runner.exploration import requests


@pytest.mark.parametrize(
    ("lines", "meant"),
    [
        ("10-40", (10, 40)),
        ("7", (7, 7)),
        (7, (7, 7)),
        ([3, 9], (3, 9)),
        ("3:9", (3, 9)),
        ("", (0, 0)),
        (None, (0, 0)),
        ("all", (0, 0)),
        ({"from": 1}, (0, 0)),
    ],
)
def test_lines_are_read_as_models_write_them(lines: object, meant: tuple[int, int]) -> None:
    (request,) = requests.of([{"action": "read", "path": "a.py", "lines": lines}])
    assert (request.first_line, request.last_line) == meant


def test_what_makes_no_sense_is_kept_to_be_answered() -> None:
    assert requests.of(["read a.py", {"path": ["a"]}]) == [
        LookRequest(action="read a.py"),
        LookRequest(action=""),
    ]


def test_requests_and_their_fields_are_bounded() -> None:
    asked = requests.of([{"action": "search", "pattern": "x" * 10_000_000}] * 5000)
    assert len(asked) == 100 and len(asked[0].pattern) == 4000
    assert len(requests.shown(asked[0])) == 200
