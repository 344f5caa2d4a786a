from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from keruta_agent.core import errors
from keruta_agent.git import url


@pytest.mark.parametrize(
    ("text", "address", "name"),
    [
        ("https://github.com/o/r.git", "https://github.com/o/r.git", "r"),
        ("https://github.com/o/r", "https://github.com/o/r", "r"),
        ("https://github.com/o/r/", "https://github.com/o/r", "r"),
        ("https://github.com/o/r.git/", "https://github.com/o/r.git", "r"),
        ("https://github.com/o/r?tab=readme#top", "https://github.com/o/r", "r"),
        ("HTTPS://GitHub.com/o/r.git", "https://github.com/o/r.git", "r"),
        ("http://[::1]:8080/a/b/c.git", "http://[::1]:8080/a/b/c.git", "c"),
        (
            "https://host:8443/team/プロジェクト.git",
            "https://host:8443/team/プロジェクト.git",
            "プロジェクト",
        ),
        ("https://host/my%20repo.git", "https://host/my%20repo.git", "my repo"),
        ("ssh://git@host:2222/o/r.git", "ssh://git@host:2222/o/r.git", "r"),
        ("ssh://host/~me/r.git/", "ssh://host/~me/r.git", "r"),
        ("git+ssh://git@host/o/r.git", "ssh://git@host/o/r.git", "r"),
        ("git://host/r.git", "git://host/r.git", "r"),
        ("git@github.com:o/r.git", "git@github.com:o/r.git", "r"),
        ("git@host:repo", "git@host:repo", "repo"),
        ("host:repo.git/", "host:repo.git", "repo"),
        ("git@[::1]:o/r.git", "git@[::1]:o/r.git", "r"),
        ("file:///srv/git/r.git", "/srv/git/r.git", "r"),
        ("/srv/git/r.git/", "/srv/git/r.git", "r"),
        ("/home/me/app/.git", "/home/me/app/.git", "app"),
        ("/srv/..git", "/srv/..git", "repository"),
        ("  https://host/o/r.git\n", "https://host/o/r.git", "r"),
    ],
)
def test_address_is_understood_in_every_form(text: str, address: str, name: str) -> None:
    found = url.parse(text)
    assert (found.address, found.name) == (address, name)


@pytest.mark.parametrize(
    "text",
    [
        *("", "  ", "r.git", "./r.git", "../r.git", "https://", "https://host", "https://host/"),
        *("ext::sh -c id", "ext://x/y", "ftp://host/r.git", "-oProxyCommand=id:x", "git@host:"),
        *("ssh://-oProxyCommand=id/r.git", "--upload-pack=id", "/", "https://host:port/r.git"),
        *("host::r", "https://ho\0st/r.git", "https://[::1/r.git", "a b:c"),
    ],
)
def test_what_is_no_repository_is_refused(text: str) -> None:
    with pytest.raises(errors.WorkspaceError) as caught:
        url.parse(text)
    assert "repository's address" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "username", "password"),
    [
        ("https://me:p%40ss@host/o/r.git", "me", "p@ss"),
        ("https://ghp_token@host/o/r.git", "ghp_token", ""),
        ("https://host/o/r.git", "", ""),
    ],
)
def test_login_is_taken_out_of_the_address(text: str, username: str, password: str) -> None:
    found = url.parse(text)
    assert (found.username, found.password) == (username, password)
    assert found.address == "https://host/o/r.git"
    assert found.host == "host"
    assert "p@ss" not in repr(found) and "ghp_token" not in repr(found)


def test_password_of_an_ssh_address_goes_no_further() -> None:
    found = url.parse("ssh://git:secret@host:22/o/r.git")
    assert found.address == "ssh://git@host:22/o/r.git"
    assert "secret" not in repr(found)


def test_addresses_of_one_repository_have_one_identity() -> None:
    forms = [
        "https://Host/o/r.git",
        "git@host:o/r",
        "ssh://git@host:2222/o/r.git/",
        "http://u:p@host/o/r",
    ]
    assert {url.parse(form).identity for form in forms} == {"host/o/r"}
    assert url.parse("https://other/o/r").identity != "host/o/r"


@given(st.text(max_size=60))
def test_any_text_is_parsed_or_refused_and_shown_without_a_password(text: str) -> None:
    try:
        found = url.parse(text)
    except errors.WorkspaceError:
        return
    assert found.name not in ("", ".", "..") and "/" not in found.name
    assert url.parse(found.address).address == found.address


def test_unreadable_address_is_shown_without_its_login() -> None:
    assert "secret" not in url.without_secrets("weird://me:secret@host/x")
    assert "secret" not in url.without_secrets("https://me:secret@host:nonsense/x")
