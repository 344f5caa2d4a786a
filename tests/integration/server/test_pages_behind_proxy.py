"""The pages under the path of a reverse proxy, which cuts that path off or passes it on."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from keruta_agent.http.application import Application
from keruta_agent.http.proxies import Proxies
from keruta_agent.server.application import create_application
from keruta_agent.server.store.store import Store
from tests.helpers.asgi_client import Answer, Client
from tests.helpers.page_visitor import form_token

PREFIX = "/@anna/ws.main/apps/keruta"
TOKEN = "a-token"


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Proxy:
    """A reverse proxy as far as the application can tell."""

    app: Application
    #: Whether the application is not told the path of a request as the client asked for it.
    cuts_off: bool
    headers: tuple[tuple[bytes, bytes], ...] = ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        assert scope["path"].startswith(f"{PREFIX}/"), scope["path"]
        path = scope["path"].removeprefix(PREFIX) if self.cuts_off else scope["path"]
        headers = [*scope["headers"], *self.headers]
        await self.app({**scope, "path": path, "headers": headers}, receive, send)


@pytest.fixture(
    params=["cut off and told", "cut off and set", "passed on and told", "passed on and set"]
)
def proxy(request: pytest.FixtureRequest, store: Store) -> _Proxy:
    how = str(request.param)
    is_told = how.endswith("told")
    return _Proxy(
        app=create_application(
            store, token=TOKEN, proxies=None if is_told else Proxies(root_path=PREFIX)
        ),
        cuts_off=how.startswith("cut off"),
        headers=((b"x-forwarded-prefix", PREFIX.encode()),) if is_told else (),
    )


@pytest.fixture
def browser(proxy: _Proxy) -> Client:
    return Client(proxy)


def _send(browser: Client, path: str, **fields: str) -> Answer:
    page = browser.get(f"{PREFIX}/login" if path.endswith("/login") else f"{PREFIX}/").text
    return browser.post(path, data={"csrf": form_token(page), **fields})


def _entered(browser: Client) -> Answer:
    return _send(browser, f"{PREFIX}/login", token=TOKEN, next="/sessions/x?a=b")


def _api(browser: Client, path: str) -> Any:
    return browser.get(f"{PREFIX}/api/v1{path.removeprefix(PREFIX)}").json()


def test_login_leads_back_below_the_prefix_and_its_cookie_stays_there(browser: Client) -> None:
    asked = browser.get(f"{PREFIX}/sessions/x?a=b")
    assert asked.headers["Location"] == f"{PREFIX}/login?next=%2Fsessions%2Fx%3Fa%3Db"
    entered = _entered(browser)
    assert entered.headers["Location"] == f"{PREFIX}/sessions/x?a=b"
    assert f"Path={PREFIX};" in entered.headers["Set-Cookie"] + ";"
    assert browser.get(f"{PREFIX}/").status_code == 200
    switched = _send(browser, f"{PREFIX}/language", language="ja", next="/sessions/x")
    assert switched.headers["Location"] == f"{PREFIX}/sessions/x"
    assert f"Path={PREFIX};" in switched.headers["Set-Cookie"] + ";"
    left = _send(browser, f"{PREFIX}/logout")
    assert left.headers["Location"] == f"{PREFIX}/login"
    assert browser.get(f"{PREFIX}/").status_code == 303


def test_every_address_in_the_pages_is_below_the_prefix(browser: Client) -> None:
    _entered(browser)
    session = _send(browser, f"{PREFIX}/sessions", name="work").headers["Location"]
    session = session.partition("?")[0]
    assert session.startswith(f"{PREFIX}/sessions/")
    assert _send(browser, f"{session}/tasks", name="t").status_code == 303
    task = f"{PREFIX}/tasks/{_api(browser, f'{session}/tasks')[0]['id']}"
    stored = browser.post(
        f"{PREFIX}/api/v1{task.removeprefix(PREFIX)}/artifacts",
        files={"file": ("a.png", b"\x89PNG\r\n\x1a\n", "image/png")},
        headers={"X-CSRF-Token": form_token(browser.get(f"{PREFIX}/").text)},
    )
    artifact = f"{task}/artifacts/{stored.json()['id']}"
    came_from = {"Referer": f"http://localhost{task}"}
    csrf = form_token(browser.get(task).text)
    pages = [
        browser.get(path) for path in (f"{PREFIX}/", session, f"{session}/new", task, artifact)
    ]
    pages += [
        browser.get(f"{PREFIX}/none", headers={"Accept": "text/html"}),
        browser.post(f"{task}/cancel", data={"csrf": csrf}),
        browser.post(f"{task}/cancel", data={"csrf": "old"}, headers=came_from),
    ]
    for page in pages:
        addresses = re.findall(r"""(?:src|href|action)="([^"]*)\"""", page.text)
        assert len(addresses) > 5
        assert [a for a in addresses if not a.startswith((f"{PREFIX}/", "#"))] == []
        for path in {a for a in addresses if a.startswith(f"{PREFIX}/static/")}:
            assert browser.get(path).status_code == 200
        assert f'data-base="{PREFIX}"' in page.text
    assert f'href="{task}"' in pages[-1].text  # the way back
    assert f"KERUTA_API_URL=http://localhost{PREFIX} " in pages[1].text


def test_api_is_the_same_under_the_prefix_as_without_it(proxy: _Proxy) -> None:
    bearer = {"Authorization": f"Bearer {TOKEN}"}
    through = Client(proxy)
    body = {"name": "once"}
    key = {"Idempotency-Key": f"a key {proxy.cuts_off}{proxy.headers}".replace(" ", "")[:60]}
    made = through.post(f"{PREFIX}/api/v1/sessions", json=body, headers=bearer | key)
    assert made.status_code == 201
    assert through.get(f"{PREFIX}/api/v1/sessions").status_code == 401
    assert through.get(f"{PREFIX}/health").status_code == 200
    # An agent of the same machine need not go through the proxy.
    direct = Client(proxy.app)
    again = direct.post("/api/v1/sessions", json=body, headers=bearer | key)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert again.json() == made.json()


def test_login_without_a_prefix_does_not_hide_the_one_below_it(browser: Client) -> None:
    _entered(browser)
    name = next(iter(browser.cookies))
    # Browsers send the cookies of "/" to what is below as well, and in an order of their own.
    assert name.startswith("keruta_visitor__")


def test_proxy_that_ends_https_has_the_cookie_kept_from_plain_http(store: Store) -> None:
    app = create_application(store, token=TOKEN)
    told = {"X-Forwarded-Proto": "https"}
    assert "Secure" in Client(app).get("/login", headers=told).headers["Set-Cookie"]
    assert "Secure" not in Client(app).get("/login").headers["Set-Cookie"]
    far = {"client": ("192.0.2.1", 9)}
    answer = Client(app).get("/login", headers=told, scope=far)
    assert "Secure" not in answer.headers["Set-Cookie"]


@pytest.mark.parametrize(
    "prefix", ["//evil.example", "https://evil.example", "/a/..", '/"><script>', "/a; Secure"]
)
def test_prefix_that_leads_elsewhere_is_not_believed(store: Store, prefix: str) -> None:
    browser = Client(create_application(store, token=TOKEN))
    asked = browser.get("/", headers={"X-Forwarded-Prefix": prefix})
    assert asked.headers["Location"] == "/login?next=%2F"
    page = browser.get("/login", headers={"X-Forwarded-Prefix": prefix})
    assert 'data-base=""' in page.text
    assert "Path=/;" in page.headers["Set-Cookie"] + ";"


def test_page_of_another_site_gains_nothing_by_what_proxies_tell(store: Store) -> None:
    browser = Client(create_application(store))
    told = {"X-Forwarded-Host": "127.0.0.1", "X-Forwarded-Prefix": "/x"}
    for headers in ({"Host": "evil.example"}, {"Origin": "http://evil.example"}):
        assert browser.get("/api/v1/sessions", headers=headers | told).status_code == 403
    asked = browser.request(
        "OPTIONS",
        "/",
        headers={
            "Origin": "http://evil.example",
            "Access-Control-Request-Method": "POST",
            "Access-Control-Request-Headers": "x-forwarded-prefix",
        },
    )
    assert not [name for name in asked.headers if name.lower().startswith("access-control-")]
