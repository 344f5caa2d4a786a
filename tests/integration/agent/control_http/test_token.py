"""The token of the daemon's HTTP API and the file that says where the API is."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from keruta_agent.agent.control.http import address, token
from keruta_agent.core import errors
from tests.helpers.agents import settings_in


@pytest.fixture
def base(tmp_path: Path) -> Path:
    base = tmp_path / "base"
    base.mkdir(mode=0o700)
    return base


def test_token_is_made_once_for_this_user_only(tmp_path: Path, base: Path) -> None:
    settings = settings_in(tmp_path)
    assert token.token_of(settings) is None

    made = token.make_token(settings)

    assert len(made) > 40
    assert token.make_token(settings) == token.token_of(settings) == made
    assert stat.S_IMODE((base / token.TOKEN_FILE).stat().st_mode) == 0o600


def test_token_that_was_set_is_used_and_not_stored(tmp_path: Path, base: Path) -> None:
    settings = settings_in(tmp_path, daemon_token="chosen")
    assert token.make_token(settings) == token.token_of(settings) == "chosen"
    assert list(base.iterdir()) == []


@pytest.mark.parametrize("left", ["", "\n", "half", "x" * 20, "no token but a sentence " * 4])
def test_what_is_left_of_a_token_is_made_anew(tmp_path: Path, base: Path, left: str) -> None:
    (base / token.TOKEN_FILE).write_text(left, encoding="utf-8")
    (base / "http-token.new").write_text("of an agent that was killed", encoding="utf-8")
    made = token.make_token(settings_in(tmp_path))
    assert len(made) > 40
    assert {path.name for path in base.iterdir()} == {token.TOKEN_FILE}


def test_token_that_cannot_be_stored_is_reported_in_one_line(tmp_path: Path, base: Path) -> None:
    (base / token.TOKEN_FILE).mkdir()
    (base / token.TOKEN_FILE / "x").touch()
    with pytest.raises(errors.AgentStateError, match=r"http-token.*KERUTA_DAEMON_TOKEN"):
        token.make_token(settings_in(tmp_path))


def test_address_is_published_and_withdrawn(base: Path) -> None:
    assert address.published(base) is None
    address.publish(base, "http://127.0.0.1:5")
    told = address.published(base)
    assert told is not None
    assert told["url"] == "http://127.0.0.1:5"
    assert stat.S_IMODE((base / address.ADDRESS_FILE).stat().st_mode) == 0o600
    address.withdraw(base)
    address.withdraw(base)
    assert address.published(base) is None
    (base / address.ADDRESS_FILE).write_text("half of {", encoding="utf-8")
    assert address.published(base) is None


@pytest.mark.parametrize(
    ("host", "listens_on"),
    [("localhost", "127.0.0.1"), ("127.0.0.1", "127.0.0.1"), ("127.8.9.1", "127.8.9.1"),
     ("::1", "::1"), ("[::1]", "::1")],
)  # fmt: skip
def test_loopback_needs_no_token_that_was_set(tmp_path: Path, host: str, listens_on: str) -> None:
    assert address.listening_address(settings_in(tmp_path, daemon_host=host)) == listens_on


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "[2001:db8::1]"])
def test_other_addresses_need_one(tmp_path: Path, host: str) -> None:
    with pytest.raises(errors.SettingsError, match="KERUTA_DAEMON_TOKEN"):
        address.listening_address(settings_in(tmp_path, daemon_host=host))
    settings = settings_in(tmp_path, daemon_host=host, daemon_token="chosen")
    assert address.listening_address(settings) == host.strip("[]")
