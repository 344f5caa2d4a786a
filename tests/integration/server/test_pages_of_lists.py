"""Lists come in pages, each found by an index: whatever waits is seen, however much it is."""

from __future__ import annotations

import contextlib
import itertools
import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from keruta_agent.server import paging
from keruta_agent.server.resources.logs import LogQuery
from keruta_agent.server.store import log_rows
from keruta_agent.server.store.database import Database, open_database
from keruta_agent.server.store.ranges import Listing, Range
from keruta_agent.server.task_lists import waiting
from tests.helpers.api_caller import ApiCaller
from tests.helpers.databases import url_of


@pytest.fixture
def few_rows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paging, "MOST_ROWS", 3)


def _next(answer: Any) -> str | None:
    """Return the query of the next page."""
    link = answer.headers.get("Link")
    if link is None:
        return None
    found = re.fullmatch(r'<(\?[^>]+)>; rel="next"', link)
    assert found, link
    return found[1]


def _pages(api: ApiCaller, path: str, query: str = "") -> Iterator[list[Any]]:
    """Yield the pages of a list, as long as each names another."""
    asked: str | None = query
    while asked is not None:
        answer = api.call("GET", f"{path}{asked}")
        assert answer.status_code == 200, answer.text
        yield answer.json()
        asked = _next(answer)


def _names(page: list[Any]) -> list[str]:
    return [each["name"] for each in page]


def _file(api: ApiCaller, session: str, *priorities: int) -> None:
    for number, priority in enumerate(priorities):
        draft = {"name": str(number), "sessionId": session, "priority": priority}
        api.send("POST", "/tasks", draft, status=201)


def _tasks(api: ApiCaller, task: str) -> str:
    for number in range(5):
        api.send("POST", f"/tasks/{task}/subtasks", {"name": str(number)}, status=201)
    return f"/tasks/{task}/subtasks"


def _metrics(api: ApiCaller, task: str) -> str:
    for number in range(5):
        api.send("POST", f"/tasks/{task}/metrics", {"n": number}, status=201)
    return f"/tasks/{task}/metrics"


def _artifacts(api: ApiCaller, task: str) -> str:
    path = f"/tasks/{task}/artifacts"
    for number in range(5):
        files = {"file": (f"{number}", b"x", "text/plain")}
        assert api.call("POST", path, files=files).status_code == 201
    return path


def _sessions(api: ApiCaller, task: str) -> str:
    for number in range(5):
        api.send("POST", "/sessions", {"name": f"of {task}: {number}"}, status=201)
    return f"/sessions/search?name=OF%20{task}"


def _logs(api: ApiCaller, task: str) -> str:
    batch = [{"message": str(number)} for number in range(5)]
    api.send("POST", f"/tasks/{task}/logs", batch, status=201)
    return f"/tasks/{task}/logs"


def _agents(api: ApiCaller, task: str) -> str:
    session = api.get(f"/tasks/{task}")["sessionId"]
    for number in range(5):
        draft = {"instance": "i", "sessionId": session, "leaseSeconds": 60}
        api.send("PUT", f"/agents/{task}-{number}", draft)
    return f"/agents?sessionId={session}"


@pytest.mark.parametrize("made", [_tasks, _metrics, _artifacts, _sessions, _logs, _agents])
def test_pages_make_up_the_list(api: ApiCaller, made: Callable[[ApiCaller, str], str]) -> None:
    path, _, query = made(api, api.task()["id"]).partition("?")
    [whole] = _pages(api, path, f"?{query}")
    assert len(whole) == 5
    pages = list(_pages(api, path, f"?{query}&size=2"))
    assert [len(page) for page in pages] == [2, 2, 1]
    assert [*itertools.chain.from_iterable(pages)] == whole
    numbered = [api.get(f"{path}?{query}&size=2&page={page}") for page in range(4)]
    assert numbered == [*pages, []]


def test_next_page_is_asked_for_in_the_words_of_the_first(api: ApiCaller) -> None:
    session = api.session()["id"]
    _file(api, session, 0, 0, 0)
    answer = api.call("GET", f"/tasks/session/{session}?status=PENDING&size=1&page=0")
    asked = dict(parse_qsl(urlsplit(_next(answer)).query))
    assert asked.pop("after")
    assert asked == {"status": "PENDING", "size": "1"}
    assert _next(api.call("GET", f"/tasks/session/{session}?size=3")) is None


def test_rows_of_all_pages_are_counted_if_it_is_asked_for(api: ApiCaller) -> None:
    session = api.session()["id"]
    _file(api, session, 0, 5, 0)
    path = f"/sessions/{session}/tasks"
    assert "X-Total-Count" not in api.call("GET", path).headers
    for query in ("?total=true&size=1", "?total=true&status=PENDING&size=1&page=2"):
        assert api.call("GET", f"{path}{query}").headers["X-Total-Count"] == "3"


@pytest.mark.usefixtures("few_rows")
def test_list_without_pages_is_bounded_and_says_so(api: ApiCaller) -> None:
    session = api.session()["id"]
    _file(api, session, 0, 0, 0, 0)
    answer = api.call("GET", f"/sessions/{session}/tasks")
    assert _names(answer.json()) == ["3", "2", "1"]
    assert _names(api.get(f"/sessions/{session}/tasks{_next(answer)}")) == ["0"]


@pytest.mark.usefixtures("few_rows")
@pytest.mark.parametrize(
    "route", ["/sessions/{}/tasks?status=PENDING", "/tasks/session/{}/pending"]
)
def test_task_that_runs_first_is_never_left_out(api: ApiCaller, route: str) -> None:
    session = api.session()["id"]
    _file(api, session, 0, 1, 0, 9, 0)
    path, _, query = route.format(session).partition("?")
    first, *others = _pages(api, path, f"?{query}")
    assert _names(first) == ["3", "1", "0"]  # the newest first, as ever
    assert [_names(page) for page in others] == [["2", "4"]]  # in the order of execution


def test_pages_of_waiting_tasks_come_in_the_order_of_execution(api: ApiCaller) -> None:
    session = api.session(workspaceId="pages")["id"]
    _file(api, session, 0, -1, 7, 0, 7, -1, 0)
    wanted = [["2", "4"], ["0", "3"], ["6", "1"], ["5"]]
    for path in (f"/sessions/{session}/tasks", "/workspaces/pages/tasks/pending"):
        pages = _pages(api, path, "?status=PENDING&size=2")
        assert [_names(page) for page in pages] == wanted


def test_page_goes_on_where_the_one_before_ended_though_its_last_task_is_gone(
    api: ApiCaller,
) -> None:
    session = api.session()["id"]
    _file(api, session, 0, 0, 0, 0)
    path = f"/sessions/{session}/tasks"
    answer = api.call("GET", f"{path}?status=PENDING&size=2")
    assert _names(answer.json()) == ["0", "1"]
    api.call("DELETE", f"/tasks/{answer.json()[1]['id']}")
    assert _names(api.get(f"{path}{_next(answer)}")) == ["2", "3"]


@pytest.mark.parametrize(
    "query", ["size=0", "size=1001", "page=-1", "after=x", "after=1.2.3", "after=1.2", "total=4"]
)
def test_page_that_cannot_be_is_refused(api: ApiCaller, query: str) -> None:
    name = query.partition("=")[0]
    assert api.error("GET", f"/tasks?{query}", None, 400)["field"] == name


def test_pages_of_a_log_go_on_in_both_directions(api: ApiCaller) -> None:
    task = api.task()["id"]
    batch = [{"message": str(number)} for number in range(5)]
    api.send("POST", f"/tasks/{task}/logs", batch, status=201)
    for order, wanted in (("asc", "01234"), ("desc", "43210")):
        pages = _pages(api, f"/tasks/{task}/logs", f"?order={order}&size=2")
        assert [[each["message"] for each in page] for page in pages] == [
            list(wanted[:2]),
            list(wanted[2:4]),
            list(wanted[4:]),
        ]


def _log(**query: Any) -> Listing:
    return log_rows.listing(1, LogQuery().load(query))


_OF_A_SESSION = {"session_id": "s"}
_LISTINGS = {
    "newest lines": _log(),
    "lines behind one": _log(order="asc", after=5),
    "lines before one": _log().behind((7,)),
    "lines of a level": _log(level="ERROR"),
    "sessions": Range(table="sessions"),
    "tasks": Range(table="tasks"),
    "tasks in a state": Range(table="tasks", prefix={"status": "FAILED"}),
    "tasks of a session": Range(table="tasks", prefix=_OF_A_SESSION).behind((7,)),
    "ended tasks of a session": Range(table="tasks", prefix=_OF_A_SESSION | {"status": "FAILED"}),
    "subtasks": Range(table="tasks", prefix={"parent_task_id": "t"}),
    "artifacts": Range(table="artifacts", prefix={"task": 1}, newest_first=False),
    "metrics": Range(table="metrics", prefix={"task": 1}),
    "waiting tasks": waiting(("session_id = ?", ("s",))),
    "more waiting tasks": waiting(("session_id = ?", ("s",))).behind((0, 7)),
}


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """Give a database for plans, which PostgreSQL makes by what tables hold."""
    directory = tmp_path_factory.mktemp("empty")
    with contextlib.closing(open_database(directory, url_of(directory))) as opened:
        yield opened


@pytest.mark.parametrize("name", _LISTINGS)
def test_page_is_read_by_an_index_and_not_sorted(
    empty: Database, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    database, plans = empty, []

    def explain(statement: Any, *values: Any) -> list[Any]:
        how = "EXPLAIN" if database.postgresql else "EXPLAIN QUERY PLAN"
        text = statement.postgresql if database.postgresql else statement.sqlite
        rows = database.peewee.execute_sql(f"{how} {text}", values).fetchall()
        plans.append("\n".join(str(row[-1]) for row in rows))
        return []

    monkeypatch.setattr(database, "run", explain)
    with database.connected(), database.transaction():
        if database.postgresql:  # tables of tests are small: reading them whole is cheaper
            database.peewee.execute_sql("SET LOCAL enable_seqscan = off")
            database.peewee.execute_sql("SET LOCAL enable_bitmapscan = off")
            database.peewee.execute_sql("SET LOCAL enable_sort = off")
        _LISTINGS[name].places(database, 100, 0)
    for plan in plans:
        assert re.search(r"USING (COVERING )?INDEX|INTEGER PRIMARY KEY|Index", plan), plan
        assert not re.search("SCAN|TEMP B-TREE|Sort|Filter", plan), plan
