"""What the server forgets, by age and number, on SQLite and on PostgreSQL."""

from __future__ import annotations

import contextlib
import dataclasses
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from keruta_agent.server.application import create_application
from keruta_agent.server.retention import pruner, rounds
from keruta_agent.server.retention.policy import Limit, Policy, parse_limit
from keruta_agent.server.retention.pruned import Pruned
from keruta_agent.server.retention.pruner import Pruner
from keruta_agent.server.store import tables as t
from keruta_agent.server.store.statements import statement
from keruta_agent.server.store.store import Store
from tests.helpers.asgi_client import Answer, Client

DAY_S = 86_400.0
LOGS = Policy(logs=Limit(age_s=DAY_S))
ALL = Policy(sessions=Limit(age_s=DAY_S), logs=Limit(age_s=DAY_S), artifacts=Limit(age_s=DAY_S))


@dataclasses.dataclass
class World:
    """A store with an API over it, and a clock that tests can turn."""

    store: Store
    client: Client

    def get(self, path: str) -> Answer:
        """Ask the API."""
        return self.client.get(f"/api/v1{path}")

    def send(self, method: str, path: str, body: Any = None) -> Answer:
        """Write to the API."""
        return self.client.request(method, f"/api/v1{path}", json=body)

    def session(self, **fields: Any) -> str:
        """Create a session."""
        made = self.send("POST", "/sessions", {"name": "s", **fields}).json()
        return str(made["id"])

    def task(self, session: str, *, lines: int = 3, artifacts: int = 1, ends: bool = True) -> str:
        """Create a task with a log and artifacts, and end it."""
        made = self.send("POST", "/tasks", {"name": "t", "sessionId": session}).json()
        task = str(made["id"])
        log = [{"level": "INFO", "message": f"line {number}"} for number in range(lines)]
        if log:
            self.send("POST", f"/tasks/{task}/logs", log)
        for number in range(artifacts):
            self.client.post(
                f"/api/v1/tasks/{task}/artifacts",
                files={"file": (f"{number}.txt", b"x", "text/plain")},
            )
        if ends:
            self.status(task, "PROCESSING")
            self.status(task, "COMPLETED")
        return task

    def status(self, task: str, status: str) -> None:
        """Set a task's state."""
        self.send("PUT", f"/tasks/{task}/status", {"status": status})

    def end(self, session: str) -> None:
        """End a session."""
        self.send("PUT", f"/sessions/{session}/status", {"status": "COMPLETED"})

    def age(self, days: float) -> None:
        """Let days pass."""
        passed = int(days * DAY_S * 1_000_000)
        for table in ("sessions", "tasks"):
            self.run(f"UPDATE {table} SET ended_at = ended_at - ?", passed)

    def run(self, text: str, *values: Any) -> Any:
        """Execute a statement."""
        with self.store.database.connected():
            return self.store.database.run(statement(text), *values)

    def prune(self, policy: Policy) -> Pruned:
        """Prune by a policy."""
        return sum(rounds.prune(self.store, policy), Pruned())

    def log(self, task: str) -> Answer:
        """Return a task's log."""
        return self.get(f"/tasks/{task}/logs")

    def files(self) -> int:
        """Count the stored files."""
        return len(list(self.store.directory.artifacts.iterdir()))


@contextlib.contextmanager
def world_in(path: Path, url: str | None = None) -> Iterator[World]:
    """Open a world."""
    with contextlib.closing(Store.open(path, url)) as store:
        yield World(store, Client(create_application(store)))


@pytest.fixture(params=["sqlite", "postgresql"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[World]:
    url = request.getfixturevalue("postgresql_url") if request.param == "postgresql" else None
    with world_in(tmp_path, url) as made:
        yield made


def test_old_session_goes_with_all_that_belongs_to_it(world):
    old = world.session()
    tasks = [world.task(old) for _ in range(3)]
    world.end(old)
    world.age(2)
    young = world.session()
    kept = world.task(young)
    world.end(young)
    assert Pruner(world.store, ALL).due() == Pruned(sessions=1, tasks=3, log_lines=9, artifacts=3)
    assert world.prune(ALL) == Pruned(sessions=1, tasks=3, log_lines=9, artifacts=3)
    assert world.get(f"/sessions/{old}").status_code == 404
    assert world.get(f"/tasks/{tasks[0]}").status_code == 404
    assert len(world.log(kept).json()) == 3
    assert world.files() == 1
    assert world.prune(ALL).is_nothing


def test_end_of_a_session_is_announced_and_events_keep_their_numbers(world):
    old = world.session()
    world.task(old)
    world.end(old)
    world.age(2)
    before = world.store.changes.newest()
    world.prune(ALL)
    [event] = world.store.changes.after(before, [old], 10)
    assert event.number > before
    assert b"session_deleted" in event.frame


@pytest.mark.parametrize("policy", [LOGS, ALL], ids=["logs", "all"])
def test_nothing_goes_of_a_session_that_has_not_ended(world, policy):
    session = world.session()
    task = world.task(session)
    world.age(2)
    assert world.prune(policy).is_nothing
    assert len(world.log(task).json()) == 3


@pytest.mark.parametrize("status", [None, "PROCESSING", "WAITING_FOR_INPUT"])
def test_nothing_goes_of_an_ended_session_with_a_task_that_waits_or_runs(world, status):
    session = world.session()
    ended, open_ = world.task(session), world.task(session, ends=False)
    if status is not None:
        world.status(open_, "PROCESSING")
        world.status(open_, status)
    world.end(session)
    world.age(2)
    assert world.prune(ALL).is_nothing
    world.status(open_, "CANCELLED")
    assert world.prune(LOGS).log_lines == 3
    assert world.log(ended).json() == []


def test_logs_and_artifacts_of_live_sessions_go_where_that_is_asked_for(world):
    task = world.task(world.session())
    world.age(2)
    policy = dataclasses.replace(ALL, in_live_sessions=True)
    assert world.prune(policy) == Pruned(log_lines=3, artifacts=1)
    assert world.get(f"/tasks/{task}").status_code == 200


def test_nothing_goes_of_a_pinned_session_until_it_is_unpinned(world):
    session = world.session(pinned=True)
    world.task(session)
    world.end(session)
    world.age(2)
    assert world.prune(dataclasses.replace(ALL, in_live_sessions=True)).is_nothing
    unpinned = world.send("PUT", f"/sessions/{session}/pinned", {"pinned": False}).json()
    assert unpinned["pinned"] is False
    assert world.prune(ALL).sessions == 1


def test_session_that_is_reopened_is_no_longer_old(world):
    session = world.session()
    world.end(session)
    world.age(2)
    answer = world.send("PUT", f"/sessions/{session}/status", {"status": "ACTIVE"}).json()
    assert answer["endedAt"] is None
    world.end(session)
    assert world.prune(ALL).is_nothing


def test_age_counts_from_the_end_and_not_from_the_last_change(world):
    session = world.session()
    world.end(session)
    world.age(2)
    world.end(session)  # once more
    assert world.prune(ALL).sessions == 1


def test_pruned_log_says_so(world):
    session = world.session()
    task, empty = world.task(session), world.task(session, lines=0, artifacts=0)
    world.end(session)
    world.age(2)
    world.prune(Policy(logs=Limit(age_s=DAY_S), artifacts=Limit(age_s=DAY_S)))
    known = world.get(f"/tasks/{task}").json()
    answer = world.log(task)
    assert answer.json() == []
    assert answer.headers["X-Pruned-At"] == known["logPrunedAt"]
    count = world.get(f"/tasks/{task}/logs/count").json()
    assert count == {"count": 0, "prunedAt": known["logPrunedAt"]}
    artifacts = world.get(f"/tasks/{task}/artifacts")
    assert artifacts.headers["X-Pruned-At"] == known["artifactsPrunedAt"]
    # What never was there was not pruned.
    assert "X-Pruned-At" not in world.log(empty).headers
    assert world.get(f"/tasks/{empty}").json()["logPrunedAt"] is None
    page = world.client.get(f"/tasks/{task}").text
    assert "Lines of this log were removed" in page
    assert "Artifacts of this task were removed" in page
    assert "were removed" not in world.client.get(f"/tasks/{empty}").text


def test_lines_that_come_after_the_pruning_go_at_the_next(world):
    session = world.session()
    task = world.task(session)
    world.end(session)
    world.age(2)
    world.prune(LOGS)
    world.send("POST", f"/tasks/{task}/logs", {"level": "INFO", "message": "late"})
    assert len(world.log(task).json()) == 1
    assert world.prune(LOGS).log_lines == 1


def test_newest_stay_by_number(world):
    session = world.session()
    tasks = []
    for _ in range(4):
        world.age(0.001)
        tasks.append(world.task(session))
    world.end(session)
    world.prune(Policy(logs=Limit(count=2), artifacts=Limit(count=1)))
    assert [len(world.log(task).json()) for task in tasks] == [0, 0, 3, 3]
    assert world.files() == 1
    assert world.prune(Policy(logs=Limit(count=0))).log_lines == 6


def test_newest_sessions_stay_by_number(world):
    sessions = []
    for _ in range(3):
        world.age(0.001)
        sessions.append(world.session())
        world.end(sessions[-1])
    world.prune(Policy(sessions=Limit(count=1)))
    statuses = [world.get(f"/sessions/{each}").status_code for each in sessions]
    assert statuses == [404, 404, 200]


def test_no_transaction_removes_more_than_some_lines(world, monkeypatch):
    monkeypatch.setattr("keruta_agent.server.retention.pruner.LINES_AT_ONCE", 4)
    monkeypatch.setattr("keruta_agent.server.retention.pruner.ROWS_AT_ONCE", 2)
    session = world.session()
    tasks = [world.task(session, lines=lines, artifacts=3) for lines in (3, 0, 9, 1, 4)]
    world.end(session)
    world.age(2)
    logs = [step.log_lines for step in Pruner(world.store, LOGS).steps()]
    assert sum(logs) == 17
    assert max(logs) <= 4
    assert [world.log(task).json() for task in tasks] == [[]] * 5
    assert world.prune(ALL) == Pruned(sessions=1, tasks=5, artifacts=15)
    assert world.files() == 0


def test_pruning_that_is_cut_off_anywhere_goes_on_and_says_what_is_gone(world, monkeypatch):
    monkeypatch.setattr("keruta_agent.server.retention.pruner.LINES_AT_ONCE", 2)
    session = world.session()
    tasks = [world.task(session, lines=3) for _ in range(2)]
    world.end(session)
    world.age(2)
    rest = 6
    while rest:
        next(Pruner(world.store, LOGS).steps())  # and no further
        left = [
            (len(world.log(task).json()), "X-Pruned-At" in world.log(task).headers)
            for task in tasks
        ]
        assert all(said == (lines < 3) for lines, said in left)
        rest = sum(lines for lines, _ in left)


def test_session_that_is_pinned_while_it_is_pruned_keeps_what_is_left(world, monkeypatch):
    monkeypatch.setattr("keruta_agent.server.retention.pruner.ROWS_AT_ONCE", 1)
    session = world.session()
    for _ in range(3):
        world.task(session, artifacts=0)
    world.end(session)
    world.age(2)
    steps = Pruner(world.store, ALL).steps()
    assert next(steps).tasks == 1
    world.send("PUT", f"/sessions/{session}/pinned", {"pinned": True})
    assert sum(steps, Pruned()).is_nothing
    assert len(world.get(f"/sessions/{session}/tasks").json()) == 2


def test_one_process_prunes_at_a_time(tmp_path, postgresql_url):
    with (
        world_in(tmp_path / "a", postgresql_url) as one,
        world_in(tmp_path / "b", postgresql_url) as other,
    ):
        session = one.session()
        one.task(session)
        one.end(session)
        one.age(2)
        steps = Pruner(one.store, ALL)
        with steps._writing():
            assert other.prune(ALL).is_nothing
        assert other.prune(ALL).sessions == 1


def test_requests_for_what_is_pruned_are_answered_meanwhile(world, monkeypatch):
    monkeypatch.setattr("keruta_agent.server.retention.pruner.LINES_AT_ONCE", 5)
    session = world.session()
    tasks = [world.task(session, lines=20) for _ in range(5)]
    world.end(session)
    world.age(2)
    statuses: list[int] = []

    def ask() -> None:
        for task in tasks:
            answer = world.send("POST", f"/tasks/{task}/logs", {"level": "INFO", "message": "late"})
            statuses.append(answer.status_code)
            statuses.append(world.send("DELETE", f"/tasks/{task}").status_code)

    asking = threading.Thread(target=ask)
    asking.start()
    world.prune(ALL)
    asking.join()
    world.prune(ALL)
    assert set(statuses) <= {201, 204, 404}
    assert world.get(f"/sessions/{session}").status_code == 404


def _size(world: World) -> int:
    with world.store.database.connected():
        world.run("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    return (world.store.directory.path / "server.db").stat().st_size


def _fill(world: World) -> None:
    session = world.session()
    task = world.task(session, lines=0)
    world.send(
        "POST",
        f"/tasks/{task}/logs",
        [{"level": "INFO", "message": "x" * 1000}] * 8000,
    )
    world.end(session)
    world.age(2)


def test_file_shrinks(tmp_path):
    with world_in(tmp_path) as world:
        _fill(world)
        before = _size(world)
        world.prune(ALL)
        assert _size(world) < before / 4


def test_file_of_an_earlier_version_shrinks_when_it_is_written_anew(tmp_path):
    with contextlib.closing(sqlite3.connect(tmp_path / "server.db")) as old:
        old.execute("CREATE TABLE of_old (a)")
    with world_in(tmp_path) as world:
        _fill(world)
        before = _size(world)
        world.prune(ALL)
        assert _size(world) >= before
        assert not rounds.can_shrink(world.store.database)
        rounds.write_anew(world.store.database)
        assert _size(world) < before / 4
        assert rounds.can_shrink(world.store.database)


@pytest.mark.parametrize(
    ("text", "limit"),
    [
        ("90d", Limit(age_s=90 * DAY_S)),
        ("10000", Limit(count=10_000)),
        ("12h, 5", Limit(age_s=DAY_S / 2, count=5)),
        ("0", Limit(count=0)),
    ],
)
def test_limit_is_read(text, limit):
    assert parse_limit(text) == limit


@pytest.mark.parametrize("text", ["", "1.5", "-1", "soon", "1,2", "1d,2d", "9" * 20, "1d,", "٣"])
def test_limit_that_makes_no_sense_is_refused(text):
    with pytest.raises(ValueError, match="such as 90d"):
        parse_limit(text)


def test_tasks_that_ended_before_this_version_have_an_end(world):
    # What the migration notes of them is when they were last changed.
    session = world.session()
    task = world.task(session)
    row = world.run("SELECT ended_at, updated_at FROM tasks WHERE id = ?", task).fetchone()
    assert row[0] <= t.now()
    assert row[0] is not None


def test_transaction_that_took_long_is_followed_by_smaller_ones() -> None:
    lines = [2000]
    for took_s in (0.4, 0.1, 0.1, 0.1, 0.1, 0.1):
        lines.append(pruner._adapted(lines[-1], took_s))
    assert lines == [2000, 500, 250, 125, 100, 100, 100], "never fewer, or it would never end"
    assert pruner._adapted(500, 0.04) == 500
    for _ in range(20):
        lines.append(pruner._adapted(lines[-1], 0.01))
    assert lines[-1] == pruner.LINES_AT_ONCE
