"""Logins and forms of one server process, at another one on the same database."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from keruta_agent.http.application import Application
from keruta_agent.server.access.stored_logins import MOST
from keruta_agent.server.application import create_application
from keruta_agent.server.store.data_directory import DataDirectory
from keruta_agent.server.store.database import open_database
from keruta_agent.server.store.statements import statement
from keruta_agent.server.store.store import Store
from tests.helpers.page_visitor import PageVisitor, form_token

TOKEN = "geheim"
#: For port 80, which has no number in its address.
COOKIE = "keruta_visitor_"
#: In microseconds since 1970.
_FAR_OFF = 2**52


def _at(app: Application, browser: PageVisitor) -> PageVisitor:
    """Return the same browser, led to another process by the proxy in front."""
    other = PageVisitor(app)
    other.cookies = browser.cookies
    return other


@pytest.fixture(params=["sqlite", "postgresql"])
def stores(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Store, Store]]:
    """Open one database twice, as two processes would."""
    is_sqlite = request.param == "sqlite"
    url = None if is_sqlite else request.getfixturevalue("postgresql_url")
    with contextlib.ExitStack() as opened:
        found = []
        for name in ("one", "two"):
            directory = DataDirectory(tmp_path / name)
            database = open_database(tmp_path / "one", url)
            found.append(Store(directory, database))
            opened.callback(directory.close)
            opened.callback(database.close)
        yield found[0], found[1]


@pytest.fixture
def apps(stores: tuple[Store, Store]) -> Iterator[tuple[Application, Application]]:
    both = [create_application(store, token=TOKEN) for store in stores]
    yield both[0], both[1]
    for app in both:
        app.close()


def test_login_at_one_is_good_at_the_other(apps: tuple[Application, Application]) -> None:
    here = PageVisitor(apps[0])
    here.send("/login", token=TOKEN)
    assert _at(apps[1], here).get("/").status_code == 200


def test_form_of_one_is_taken_by_the_other(apps: tuple[Application, Application]) -> None:
    here = PageVisitor(apps[0])
    token = form_token(here.get("/login").text)
    there = _at(apps[1], here)
    entered = there.post("/login", data={"csrf": token, "token": TOKEN})
    assert entered.status_code == 303
    page = there.get("/").text
    filed = _at(apps[0], there).post("/sessions", data={"csrf": form_token(page), "name": "x"})
    assert filed.status_code == 303


def test_logout_at_one_has_ended_the_login_at_the_other(
    apps: tuple[Application, Application],
) -> None:
    here = PageVisitor(apps[0])
    here.send("/login", token=TOKEN)
    thief = PageVisitor(apps[1])
    thief.cookies[COOKIE] = here.cookies[COOKIE]
    assert thief.get("/api/v1/sessions").status_code == 200
    here.send("/logout")
    assert thief.get("/api/v1/sessions").status_code == 401


def test_logins_at_once_are_bounded(
    stores: tuple[Store, Store], apps: tuple[Application, Application]
) -> None:
    database = stores[0].database
    insert = statement("INSERT INTO logins (digest, token, ends_at) VALUES (?, 'x', ?)")
    with database.connected(), database.transaction():
        for number in range(MOST + 5):
            database.run(insert, str(number), _FAR_OFF + number)
    PageVisitor(apps[0]).send("/login", token=TOKEN)
    with database.connected():
        assert database.run(statement("SELECT COUNT(*) FROM logins")).fetchone()[0] == MOST
