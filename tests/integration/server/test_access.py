"""Who may ask."""

from __future__ import annotations

from pathlib import Path

import pytest

from keruta_agent.http import throttle
from keruta_agent.http.throttle import MOST_FAILURES
from keruta_agent.server.access import tokens
from keruta_agent.server.access.grants import Grants
from keruta_agent.server.application import create_application
from keruta_agent.server.store.store import Store
from tests.helpers.api_caller import ApiCaller

TOKEN = "geheim-日本"


@pytest.fixture
def guarded(store: Store) -> ApiCaller:
    return ApiCaller(create_application(store, token=TOKEN))


def _bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token.encode().decode('latin-1')}"}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": TOKEN.encode().decode("latin-1")},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer wrong"},
        {"Authorization": "Basic " + TOKEN.encode().decode("latin-1")},
        _bearer(TOKEN + "x"),
    ],
)
@pytest.mark.parametrize(
    "path", ["/sessions", "/sessions/realtime/events", "/tasks/x/logs", "/no/such/route"]
)
def test_request_without_the_token_is_refused(
    guarded: ApiCaller, path: str, headers: dict[str, str]
) -> None:
    response = guarded.call("GET", path, headers=headers)
    assert response.status_code == 401
    assert response.json()["error"]["code"] == "UNAUTHORIZED"
    assert response.json()["error"]["status"] == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert "geheim" not in response.text


def test_request_with_the_token_passes(guarded: ApiCaller) -> None:
    assert guarded.call("GET", "/sessions", headers=_bearer(TOKEN)).status_code == 200


@pytest.mark.parametrize("path", ["/health", "/api/v1/health"])
def test_health_needs_no_token(guarded: ApiCaller, path: str) -> None:
    assert guarded.call("GET", path).status_code == 200


def test_token_is_not_kept_where_a_dump_would_show_it(store: Store) -> None:
    grants = Grants(store.database, token="very-secret")
    principal = grants.of_token("very-secret")
    assert principal is not None
    assert "very-secret" not in repr([vars(grants), principal])


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.test"},
        {"Origin": "null"},
        {"Host": "evil.test:8000"},
        {"Host": "127.0.0.1.evil.test"},
    ],
)
def test_web_pages_of_other_sites_are_refused(api: ApiCaller, headers: dict[str, str]) -> None:
    response = api.call("POST", "/sessions", json={"name": "x"}, headers=headers)
    assert (response.status_code, response.json()["error"]["code"]) == (403, "FORBIDDEN")


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost", "[::1]:8000", "LOCALHOST:1"])
def test_own_names_and_own_pages_pass(api: ApiCaller, host: str) -> None:
    headers = {"Host": host, "Origin": f"http://{host}"}
    assert api.call("GET", "/sessions", headers=headers).status_code == 200


def test_server_open_to_the_network_has_any_name(store: Store, tmp_path: Path) -> None:
    reachable = ApiCaller(create_application(store, loopback=False))
    assert reachable.call("GET", "/sessions", headers={"Host": "box.test"}).status_code == 200


def _status(api: ApiCaller, token: str, *, peer: str = "", path: str = "/sessions") -> int:
    headers = _bearer(token) | ({"X-Forwarded-For": peer} if peer else {})
    return api.call("GET", path, headers=headers).status_code


def test_tokens_are_not_guessed_by_the_thousand_at_the_api(guarded: ApiCaller) -> None:
    tries = [_status(guarded, f"guess {number}") for number in range(MOST_FAILURES + 1)]
    assert tries == [401] * MOST_FAILURES + [429]
    refused = guarded.call("GET", "/sessions", headers=_bearer("another guess"))
    assert refused.json()["error"]["code"] == "TOO_MANY_TRIES"
    assert 0 < int(refused.headers["Retry-After"]) <= 60
    assert _status(guarded, TOKEN) == 429, "else the right one would be found all the same"


def test_client_with_an_old_token_is_throttled_alone(guarded: ApiCaller) -> None:
    tries = [_status(guarded, "old") for _ in range(MOST_FAILURES + 1)]
    assert tries == [401] * MOST_FAILURES + [429]
    assert _status(guarded, TOKEN) == 200


def test_failures_of_one_peer_lock_out_no_other(guarded: ApiCaller) -> None:
    for number in range(MOST_FAILURES):
        _status(guarded, f"guess {number}", peer="203.0.113.7")
    assert _status(guarded, TOKEN, peer="203.0.113.7") == 429
    # What a client writes into the header itself stands before what its proxy has added.
    assert _status(guarded, TOKEN, peer="198.51.100.1, 203.0.113.7") == 429
    assert _status(guarded, TOKEN, peer="203.0.113.8") == 200


def test_addresses_of_one_ipv6_network_are_one_peer(guarded: ApiCaller) -> None:
    for number in range(MOST_FAILURES):
        _status(guarded, f"guess {number}", peer=f"2001:db8:1:2::{number:x}")
    assert _status(guarded, TOKEN, peer="2001:db8:1:2:ffff::1") == 429
    assert _status(guarded, TOKEN, peer="2001:db8:1:3::1") == 200


def test_guesses_stay_counted_however_many_other_tokens_are_made_up(
    guarded: ApiCaller, monkeypatch: pytest.MonkeyPatch
) -> None:
    most = 20
    monkeypatch.setattr(throttle, "MOST_KEYS", most)
    for number in range(MOST_FAILURES):
        _status(guarded, f"guess {number}")
    for number in range(most + 1):
        assert _status(guarded, f"{tokens.PREFIX}{number:064x}") == 401
    assert _status(guarded, "another guess") == 429
