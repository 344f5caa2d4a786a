"""The address of the API as people write it."""

from __future__ import annotations

import pytest

from keruta_agent.core import errors
from keruta_agent.http.client import base_url


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("http://keruta-api:8080", "http://keruta-api:8080"),
        ("http://keruta-api:8080/", "http://keruta-api:8080"),
        (" https://k.example//\n", "https://k.example"),
        ("http://k/api/v1", "http://k"),
        ("http://k/api/v1/", "http://k"),
        ("http://k/api", "http://k"),
        ("http://k/behind/proxy/api/v1", "http://k/behind/proxy"),
        ("http://k/rapid", "http://k/rapid"),
        ("http://[::1]:9/", "http://[::1]:9"),
        ("http://k?x=1#y", "http://k"),
        ("http://user:pa%40ss@k:1/", "http://k:1"),
    ],
)
def test_base_url_is_reduced_to_where_the_routes_begin(text: str, url: str) -> None:
    assert base_url.parse(text).url == url


def test_base_url_credentials_are_decoded_and_not_shown() -> None:
    base = base_url.parse("http://user:pa%40ss@k")

    assert (base.username, base.password) == ("user", "pa@ss")
    assert "pa@ss" not in repr(base)


@pytest.mark.parametrize(
    "text", ["", "keruta", "keruta-api:8080", "ftp://k", "http://", "http://k:port", "http://[::1"]
)
def test_base_url_that_is_none_says_which_setting_is_wrong(text: str) -> None:
    with pytest.raises(errors.SettingsError, match="KERUTA_API_URL"):
        base_url.parse(text)


def test_base_url_error_does_not_repeat_a_password() -> None:
    with pytest.raises(errors.SettingsError) as caught:
        base_url.parse("ftp://user:hunter2@k")

    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "is_loopback"),
    [
        ("http://localhost:1", True),
        ("http://127.0.0.9", True),
        ("http://[::1]", True),
        ("http://api.localhost", True),
        ("http://10.0.0.1", False),
        ("http://localhost.example.org", False),
    ],
)
def test_base_url_knows_loopback_addresses(text: str, is_loopback: bool) -> None:
    assert base_url.parse(text).is_loopback is is_loopback
