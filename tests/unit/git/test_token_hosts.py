"""Which hosts get a token."""

from __future__ import annotations

import pytest

from keruta_agent.git import url
from keruta_agent.git.access.credentials import GitAccess
from keruta_agent.git.access.token_hosts import is_meant

GITHUB, GITLAB = "https://github.com/o/r.git", "https://gitlab.com/o/r.git"


@pytest.mark.parametrize(
    ("address", "token", "is_sent"),
    [
        (GITHUB, "ghp_0123", True),
        (GITHUB, "github_pat_0123", True),
        ("https://GitHub.com:443/o/r", "ghp_0123", True),
        (GITLAB, "ghp_0123", False),
        (GITLAB, "glpat-0123", True),
        (GITHUB, "glpat-0123", False),
        ("https://bitbucket.org/o/r.git", "ATBB0123", True),
        (GITHUB, "of-an-unknown-kind", True),
        (GITLAB, "of-an-unknown-kind", True),
        ("http://github.com/o/r.git", "ghp_0123", False),
        ("https://github.com:8443/o/r.git", "ghp_0123", False),
        ("https://github.com.evil.example/o/r.git", "ghp_0123", False),
        ("https://evilgithub.com/o/r.git", "ghp_0123", False),
        ("https://github.com@evil.example/o/r.git", "ghp_0123", False),
        ("http://127.0.0.1:3000/o/r.git", "of-an-unknown-kind", False),
    ],
)
def test_token_goes_where_it_is_from_and_nowhere_else(
    address: str, token: str, is_sent: bool
) -> None:
    assert is_meant(url.parse(address), token, ()) is is_sent


@pytest.mark.parametrize(
    ("address", "is_sent"),
    [
        ("https://git.example.org/o/r.git", True),
        ("https://git.example.org:443/o/r.git", True),
        ("https://git.example.org:8443/o/r.git", False),
        ("http://git.example.org/o/r.git", False),
        ("http://localhost:3000/o/r.git", True),
        ("https://localhost:3000/o/r.git", False),
        ("https://[::1]:8443/o/r.git", True),
        (GITHUB, False),
    ],
)
def test_named_hosts_get_the_token_and_no_others(address: str, is_sent: bool) -> None:
    named = ["Git.example.org", "http://localhost:3000/", "https://[::1]:8443"]
    assert is_meant(url.parse(address), "ghp_0123", named) is is_sent


def test_foreign_host_gets_the_password_of_its_own_address_only() -> None:
    access = GitAccess(token="ghp_0123")
    found = access.credentials(url.parse("https://hanako:own-password@evil.example/o/r.git"))
    assert found is not None
    assert (found.username, found.password) == ("hanako", "own-password")
    assert access.credentials(url.parse("https://evil.example/o/r")) is None
