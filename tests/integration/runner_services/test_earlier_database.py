"""What the services kept in a database of their own is taken over, once and completely."""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import os
import signal
import sqlite3
from pathlib import Path
from typing import Any

import pytest
import requests

from keruta_agent.core import errors
from keruta_agent.server.runner_services.serve import STORE
from keruta_agent.server.store.schema import earlier_services
from keruta_agent.server.store.store import Store
from tests.helpers.databases import url_of
from tests.helpers.runner_services import Around, runner_services

_ARTIFACT = "3f0a4d7c-9d70-4b39-9d8c-6cf1c5a3b001"
_SHA256 = hashlib.sha256(b"right").hexdigest()
_SAID_AT = 1764356400.123
_KEYED = {"Idempotency-Key": "k1"}

#: The tables as they were.
_SCHEMA = """
CREATE TABLE schema_migrations (name TEXT PRIMARY KEY, applied_at BIGINT NOT NULL);
CREATE TABLE registry_tasks (
    number INTEGER PRIMARY KEY AUTOINCREMENT, spec_name TEXT NOT NULL, id TEXT NOT NULL,
    status TEXT NOT NULL, metadata TEXT NOT NULL, created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL, UNIQUE (id, spec_name)
);
CREATE TABLE registry_statuses (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    task BIGINT NOT NULL REFERENCES registry_tasks (number) ON DELETE CASCADE,
    status TEXT NOT NULL, metadata TEXT NOT NULL, said_at REAL, at BIGINT NOT NULL
);
CREATE TABLE registry_events (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    task BIGINT NOT NULL REFERENCES registry_tasks (number) ON DELETE CASCADE,
    event_type TEXT NOT NULL, data TEXT NOT NULL, said_at REAL, at BIGINT NOT NULL
);
CREATE TABLE registry_artifacts (
    number INTEGER PRIMARY KEY AUTOINCREMENT,
    task BIGINT NOT NULL REFERENCES registry_tasks (number) ON DELETE CASCADE,
    type TEXT NOT NULL, uri TEXT NOT NULL, size_bytes BIGINT NOT NULL, metadata TEXT NOT NULL,
    said_at REAL, at BIGINT NOT NULL
);
CREATE TABLE slots (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, repository TEXT NOT NULL,
    address TEXT NOT NULL, state TEXT NOT NULL, holder TEXT NOT NULL, lease_token TEXT NOT NULL,
    released_token TEXT NOT NULL, key TEXT NOT NULL, lease_s REAL NOT NULL,
    changed_at BIGINT NOT NULL
);
CREATE TABLE artifacts (
    number INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL UNIQUE, type TEXT NOT NULL,
    metadata TEXT NOT NULL, spec_name TEXT NOT NULL, task_id TEXT NOT NULL, size BIGINT NOT NULL,
    sha256 TEXT NOT NULL, created_at BIGINT NOT NULL
);
CREATE TABLE answers (
    scope TEXT NOT NULL, key TEXT NOT NULL, status INTEGER NOT NULL, body TEXT NOT NULL,
    created_at BIGINT NOT NULL, PRIMARY KEY (scope, key)
);
"""
_ROWS = f"""
INSERT INTO schema_migrations VALUES ('0001_first', 1);
INSERT INTO registry_tasks VALUES
    (3, 'gone', '0.1', 'done', '{{}}', 1, 1),
    (7, 'chat', '1.1', 'done', '{{"runner_id": "r1"}}', 1764356400000000, 1764356500000000);
INSERT INTO registry_statuses VALUES (2, 7, 'done', '{{}}', {_SAID_AT}, 1764356500000000);
INSERT INTO registry_artifacts VALUES (5, 7, 'diff', 'http://s/a', 5, '{{}}', NULL, 1);
INSERT INTO slots VALUES (4, 'origin-1', '/origin', '/origin.git', 'lent', 'runner-1', 'token-1',
    '', 'key-1', 3600.0, 1764356400000000);
INSERT INTO artifacts VALUES (9, '{_ARTIFACT}', 'other', '{{}}', 'chat', '1.1', 5, '{_SHA256}', 1);
INSERT INTO answers VALUES ('POST /tasks/1.1/events', 'k1', 201, '{{"first": true}}', 1 << 60);
"""
_EVENTS = 1203


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Make a data directory as the version before left it."""
    with contextlib.closing(sqlite3.connect(tmp_path / earlier_services.FILE_NAME)) as earlier:
        earlier.executescript(_SCHEMA + _ROWS)
        events = ((7, "step", f'{{"number": {number}}}', 1) for number in range(_EVENTS))
        sql = "INSERT INTO registry_events (task, event_type, data, at) VALUES (?, ?, ?, ?)"
        earlier.executemany(sql, events)
        earlier.commit()
    (tmp_path / "artifacts").mkdir()
    (tmp_path / "artifacts" / _ARTIFACT).write_bytes(b"right")
    return tmp_path


def _check(around: Around) -> None:
    task = around.registry.get_task("1.1")
    assert (task["spec_name"], task["status"]) == ("chat", "done")
    assert task["metadata"] == {"runner_id": "r1"}
    assert [entry["said_at"] for entry in task["history"]] == [_SAID_AT]
    assert [event["data"]["number"] for event in task["events"]] == list(range(_EVENTS))
    assert [entry["uri"] for entry in task["artifacts"]] == ["http://s/a"]
    assert around.registry.get_task("0.1", spec_name="gone")["events"] == []
    slot = around.pool.get_slot_status("origin-1")
    assert (slot["state"], slot["required_by"]) == ("allocated", "runner-1")
    around.pool.heartbeat("origin-1", lease_token="token-1")
    assert around.store.download(f"{around.urls[STORE]}/artifacts/{_ARTIFACT}") == b"right"


def _event(around: Around, headers: dict[str, str]) -> Any:
    url = f"{around.registry.base_url}/tasks/1.1/events"
    return requests.post(url, json={"event_type": "x"}, headers=headers, timeout=10).json()


def test_earlier_database_is_taken_over(data: Path) -> None:
    for _ in range(2):
        with runner_services(data) as around:
            _check(around)
            assert _event(around, _KEYED) == {"first": True}
    assert not (data / earlier_services.FILE_NAME).exists()
    assert (data / (earlier_services.FILE_NAME + earlier_services.TAKEN_OVER)).exists()


def test_database_that_an_older_version_has_made_since_is_taken_over_as_well(data: Path) -> None:
    path = data / earlier_services.FILE_NAME
    with runner_services(data) as around:
        _check(around)
    path.with_name(path.name + earlier_services.TAKEN_OVER).rename(path)
    with contextlib.closing(sqlite3.connect(path)) as earlier:
        earlier.execute("UPDATE schema_migrations SET applied_at = 2")
        earlier.execute("UPDATE registry_tasks SET id = '2.1' WHERE number = 7")
        earlier.commit()

    with runner_services(data) as around:
        _check(around)
        assert len(around.registry.get_task("2.1")["events"]) == _EVENTS


def _open_and_die(data: Path, before_rename: bool) -> None:
    def die(*_: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.MonkeyPatch.context() as patch:
        if before_rename:
            patch.setattr(Path, "rename", die)
        else:
            patch.setattr(earlier_services, "_insert_batch", die)
        Store.open(data, url_of(data))


@pytest.mark.parametrize("before_rename", [True, False])
def test_take_over_that_was_killed_is_done_once_all_the_same(
    data: Path, before_rename: bool
) -> None:
    killed = multiprocessing.get_context("spawn").Process(
        target=_open_and_die, args=(data, before_rename)
    )
    killed.start()
    killed.join()
    assert killed.exitcode == -signal.SIGKILL
    killed.close()
    assert (data / earlier_services.FILE_NAME).exists()

    with runner_services(data) as around:
        _check(around)


def test_earlier_database_whose_first_start_was_killed_is_nothing(tmp_path: Path) -> None:
    sqlite3.connect(tmp_path / earlier_services.FILE_NAME).close()

    with runner_services(tmp_path) as around:
        around.registry.update_task_status("1.1", "done")
        assert around.registry.get_task("1.1")["status"] == "done"


def test_damaged_earlier_database_is_reported_and_nothing_is_lost(data: Path) -> None:
    path = data / earlier_services.FILE_NAME
    path.write_bytes(b"no database at all, but long enough to be taken for one" * 100)

    with pytest.raises(errors.AgentStateError, match=r"cannot take over .*runner-services\.db"):
        Store.open(data, url_of(data))

    assert path.exists()
    assert (data / "artifacts" / _ARTIFACT).exists()
