"""When tokens and logins end: by the clock of the database, not by that of a server."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from keruta_agent.server.access import tokens
from keruta_agent.server.access.grants import Grants
from keruta_agent.server.access.principals import Role
from keruta_agent.server.store import tables as t
from keruta_agent.server.store.store import Store

_HOUR_S = 3600
_HOUR_US = _HOUR_S * 1_000_000


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with contextlib.closing(Store.open(tmp_path / "data")) as opened:
        yield opened


@pytest.mark.parametrize(("hours", "is_good"), [(0, True), (2, False), (-2, True)])
def test_token_ends_by_the_database_s_clock(
    store: Store, monkeypatch: pytest.MonkeyPatch, hours: int, is_good: bool
) -> None:
    _, token = tokens.create(store.database, "x", Role.VIEWER, lifetime_s=_HOUR_S)
    grants = Grants(store.database, token=None)
    monkeypatch.setattr(store.database, "now", lambda: t.now() + hours * _HOUR_US)
    grants.refresh()
    assert (grants.of_token(token) is not None) is is_good
    assert (tokens.newest(store.database, 1)[0]["state"] == "active") is is_good


def test_token_is_made_to_end_by_the_database_s_clock(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    ahead = t.now() + 24 * _HOUR_US
    monkeypatch.setattr(store.database, "now", lambda: ahead)
    made, _ = tokens.create(store.database, "x", Role.VIEWER, lifetime_s=_HOUR_S)
    assert made["expiresAt"] == t.date(ahead + _HOUR_US)
    assert made["createdAt"] == t.date(ahead)
