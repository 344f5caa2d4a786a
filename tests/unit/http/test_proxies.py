"""Only what is a reverse proxy is believed, and nothing that could lead elsewhere."""

from __future__ import annotations

import ipaddress
from typing import Any

import pytest

from keruta_agent.http.proxies import Proxies, prefix_of

OWN = {"", "api", "tasks", "static"}
CODER = "/@anna/ws.main/apps/keruta"


def _applied(
    proxies: Proxies, path: str, client: tuple[str, int] | None = ("127.0.0.1", 9), **headers: str
) -> tuple[str, str, str]:
    scope: dict[str, Any] = {
        "path": path,
        "scheme": "http",
        "root_path": "",
        "client": client,
        "headers": [
            (name.replace("_", "-").encode(), text.encode()) for name, text in headers.items()
        ],
    }
    proxies.apply(scope, OWN)
    return scope["root_path"], scope["path"], scope["scheme"]


@pytest.mark.parametrize("prefix", ["/keruta", CODER, "/a/b~c-d_e.f"])
def test_prefix_is_known_whether_the_proxy_cuts_it_off_or_not(prefix: str) -> None:
    proxies = Proxies(root_path=prefix)
    for path in ("/tasks/1", f"{prefix}/tasks/1"):
        assert _applied(proxies, path) == (prefix, f"{prefix}/tasks/1", "http")
    for path in ("/", prefix, f"{prefix}/"):
        assert _applied(proxies, path) == (prefix, f"{prefix}/", "http")
    assert _applied(proxies, f"{prefix}2/x") == (prefix, f"{prefix}{prefix}2/x", "http")


def test_prefix_like_an_own_path_counts_as_cut_off() -> None:
    assert _applied(Proxies(root_path="/api"), "/api/v1/tasks")[1] == "/api/api/v1/tasks"
    assert _applied(Proxies(root_path="/tasks/x"), "/tasks/x")[1] == "/tasks/x/tasks/x"


@pytest.mark.parametrize(
    ("client", "is_believed"),
    [
        (("127.0.0.1", 9), True),
        (("127.8.8.8", 9), True),
        (("::1", 9), True),
        (("::ffff:127.0.0.1", 9), True),
        (None, True),
        (("10.1.2.3", 9), True),
        (("::ffff:10.1.2.3", 9), True),
        (("10.2.2.3", 9), False),
        (("192.0.2.1", 9), False),
        (("fe80::1%eth0", 9), False),
        (("testclient", 9), False),
    ],
)
def test_only_a_proxy_is_believed(client: tuple[str, int] | None, is_believed: bool) -> None:
    proxies = Proxies(trusted=[ipaddress.ip_network("10.1.0.0/16")])
    told = {"x_forwarded_prefix": "/keruta/", "x_forwarded_proto": "HTTPS"}
    expected = ("/keruta", "/keruta/x", "https") if is_believed else ("", "/x", "http")
    assert _applied(proxies, "/x", client, **told) == expected


@pytest.mark.parametrize(
    "prefix",
    [
        "keruta",
        "//evil.example",
        "/a//b",
        "/a/../b",
        "/..",
        "/./a",
        "/a b",
        "/a?b",
        "/a#b",
        "/a%2f",
        "/a\\b",
        "/a;b",
        '/a"b',
        "/a,/b",
        "/é",
        "/a\n",
        "https://evil.example",
        "/" + "a" * 200,
    ],
)
def test_prefix_that_could_lead_elsewhere_is_refused_and_not_believed(prefix: str) -> None:
    with pytest.raises(ValueError, match="is no path such as"):
        prefix_of(prefix)
    for root_path in ("", "/own"):
        proxies = Proxies(root_path=root_path)
        assert _applied(proxies, "/x", x_forwarded_prefix=prefix)[0] == root_path


def test_proxy_cannot_take_https_back() -> None:
    assert _applied(Proxies(), "/x", x_forwarded_proto="http")[2] == "http"
    assert _applied(Proxies(), "/x", x_forwarded_proto="https, http")[2] == "http"


def test_name_of_the_host_is_never_taken_from_a_proxy() -> None:
    scope: dict[str, Any] = {
        "path": "/",
        "scheme": "http",
        "client": ("127.0.0.1", 9),
        "headers": [(b"host", b"own"), (b"x-forwarded-host", b"other")],
    }
    before = dict(scope)
    Proxies().apply(scope, OWN)
    assert scope == before


def _peer(forwarded: str, client: str = "127.0.0.1", *trusted: str) -> str:
    proxies = Proxies(trusted=[ipaddress.ip_network(each) for each in trusted])
    headers = [(b"x-forwarded-for", forwarded.encode())] if forwarded else []
    return proxies.peer({"type": "http", "client": (client, 9), "headers": headers})


def test_peer_is_the_last_address_that_no_trusted_proxy_has() -> None:
    assert _peer("") == "127.0.0.1"
    assert _peer("203.0.113.7") == "203.0.113.7"
    assert _peer("1.2.3.4, 203.0.113.7") == "203.0.113.7"
    assert _peer("203.0.113.7, 10.0.0.2", "10.0.0.1", "10.0.0.0/24") == "203.0.113.7"
    assert _peer("203.0.113.7:4711") == "203.0.113.7"
    assert _peer("[2001:db8::1]:80") == "2001:db8::1"
    assert _peer("::ffff:203.0.113.7") == "203.0.113.7"


def test_peer_is_not_taken_from_whom_nobody_trusts() -> None:
    assert _peer("203.0.113.7", "10.0.0.1") == "10.0.0.1"
    assert _peer("203.0.113.7, nonsense") == "127.0.0.1"
