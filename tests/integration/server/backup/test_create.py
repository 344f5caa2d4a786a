"""What a backup is made of, and where it refuses to be made."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from keruta_agent.core import errors
from keruta_agent.server.backup import snapshot
from keruta_agent.server.backup.create import create
from keruta_agent.server.backup.restore import restore
from keruta_agent.server.store.store import Store
from tests.helpers.command_line import CommandLine, command_line

pytestmark = pytest.mark.on_sqlite


def quietly(what: str, done: int, total: int) -> None:
    """Report to nobody."""


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with contextlib.closing(Store.open(tmp_path / "data")) as opened:
        yield opened


@pytest.fixture
def keruta(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[CommandLine]:
    with command_line(tmp_path, monkeypatch, capsys) as called:
        yield called


def _fill(path: Path, rows: int) -> None:
    with contextlib.closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("CREATE TABLE texts (text TEXT NOT NULL)")
        connection.executemany("INSERT INTO texts VALUES (?)", [("x" * 1000,)] * rows)


def test_copy_is_of_one_moment_and_never_begins_anew(tmp_path: Path) -> None:
    """A writer between any two steps would otherwise have it copied again, without an end."""
    live = tmp_path / "live.db"
    _fill(live, 3000)
    reports = []
    with contextlib.closing(sqlite3.connect(live, isolation_level=None)) as writer:

        def write(what: str, done: int, total: int) -> None:
            writer.execute("INSERT INTO texts VALUES ('later')")
            reports.append((done, total))

        snapshot.take(live, tmp_path / "copy.db", write)

    assert len(reports) >= 3
    assert len({total for _, total in reports}) == 1
    assert reports == sorted(set(reports))
    assert snapshot.counts(tmp_path / "copy.db") == {"texts": 3000}
    assert snapshot.counts(live) == {"texts": 3000 + len(reports)}


def test_writers_do_not_wait_while_a_copy_is_made(tmp_path: Path) -> None:
    live = tmp_path / "live.db"
    _fill(live, 3000)
    written = threading.Event()

    def hold(what: str, done: int, total: int) -> None:
        if done < total and not written.is_set():
            thread = threading.Thread(target=write)
            thread.start()
            thread.join(30)
            assert written.is_set()

    def write() -> None:
        with contextlib.closing(sqlite3.connect(live, timeout=0)) as connection, connection:
            connection.execute("INSERT INTO texts VALUES ('meanwhile')")
        written.set()

    snapshot.take(live, tmp_path / "copy.db", hold)
    assert written.is_set()


def test_what_no_archive_is_to_hold_is_not_in_the_copy(store: Store, tmp_path: Path) -> None:
    with store.writing() as change:
        change.tables.pool_slots.insert(
            **dict.fromkeys(
                ("pool", "id", "repository", "address", "state", "holder", "lease_token"),
                "not-for-archives",
            ),
            released_token="",
            key="",
            lease_s=1,
            changed_at=1,
        ).execute()
    create(tmp_path / "data", tmp_path / "b.tar", with_artifacts=True, report=quietly)
    assert b"not-for-archives" not in (tmp_path / "b.tar").read_bytes()


def test_artifacts_deleted_meanwhile_leave_neither_row_nor_complaint(
    store: Store, tmp_path: Path
) -> None:
    with store.writing() as change:
        for name in ("kept", "deleted"):
            change.tables.runner_artifacts.insert(
                id=name,
                type="log",
                metadata="{}",
                spec_name="",
                task_id="",
                size=0,
                sha256="e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
                created_at=2**60,
            ).execute()
            store.directory.artifact(name).touch()

    def delete(what: str, done: int, total: int) -> None:
        if done == total and store.directory.artifact("deleted").exists():
            with store.writing() as change:
                artifacts = change.tables.runner_artifacts
                artifacts.delete().where(artifacts.id == "deleted").execute()
            store.directory.remove_artifacts(["deleted"])

    made = create(tmp_path / "data", tmp_path / "b.tar", with_artifacts=True, report=delete)

    assert (made.artifacts, made.deleted_meanwhile, made.damaged) == (1, 1, 0)
    assert made.databases["server.db"]["runner_artifacts"] == 1
    restore(tmp_path / "b.tar", tmp_path / "new", replace=False, report=quietly)
    assert [file.name for file in (tmp_path / "new/artifacts").iterdir()] == ["kept"]


def test_damaged_database_is_not_backed_up(store: Store, tmp_path: Path) -> None:
    with store.database.connected():
        store.database.peewee.execute_sql("PRAGMA wal_checkpoint(TRUNCATE)")
    file = tmp_path / "data" / "server.db"
    content = file.read_bytes()
    copy = tmp_path / "damaged"
    copy.mkdir()
    (copy / "server.db").write_bytes(content[:8192] + b"\xff" * 4096 + content[12288:])
    with pytest.raises(errors.AgentStateError, match=r"server\.db is damaged"):
        create(copy, tmp_path / "b.tar", with_artifacts=True, report=quietly)
    assert not (tmp_path / "b.tar").exists()
    assert not (tmp_path / "b.tar.part").exists()


def test_second_backup_to_the_same_file_is_refused(store: Store, tmp_path: Path) -> None:
    refused = []

    def begin_another(what: str, done: int, total: int) -> None:
        with pytest.raises(errors.AgentStateError, match="is under way") as caught:
            create(tmp_path / "data", tmp_path / "b.tar", with_artifacts=True, report=quietly)
        refused.append(caught.value)

    create(tmp_path / "data", tmp_path / "b.tar", with_artifacts=True, report=begin_another)
    assert refused
    assert (tmp_path / "b.tar").exists()


def test_directory_without_a_database_is_refused(keruta: CommandLine, tmp_path: Path) -> None:
    called = keruta("server", "backup", str(tmp_path / "b.tar"))
    assert called.code == 1
    assert called.err.startswith(f"keruta: there is no server.db in {tmp_path}/.keruta/server. ")
    assert "pg_dump" in called.err


def test_services_earlier_database_is_not_forgotten(
    store: Store, keruta: CommandLine, tmp_path: Path
) -> None:
    (tmp_path / "data/runner").mkdir()
    (tmp_path / "data/runner/runner-services.db").touch()
    called = keruta("server", "backup", str(tmp_path / "b.tar"), "--data", str(tmp_path / "data"))
    assert called.code == 1
    assert "has yet to be taken over. Start the server once" in called.err


def test_what_is_kept_in_postgresql_is_left_to_its_own_tools(
    keruta: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KERUTA_SERVER_DATABASE_URL", "postgresql://u:secret@host/d")
    called = keruta("server", "backup", str(tmp_path / "b.tar"))
    assert called.code == 2
    assert "Run pg_dump --format=custom first, then copy the artifacts" in called.err
    assert "secret" not in called.err


def test_artifacts_of_an_object_store_are_left_to_its_versions(
    store: Store, keruta: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("KERUTA_SERVER_ARTIFACT_STORE", "s3://bucket/prefix")
    data = ("--data", str(tmp_path / "data"))
    called = keruta("server", "backup", str(tmp_path / "b.tar"), *data)
    assert called.code == 2
    assert "Turn versioning on for the bucket, and give --without-artifacts" in called.err
    assert (
        keruta("server", "backup", str(tmp_path / "b.tar"), *data, "--without-artifacts").code == 0
    )


def test_progress_is_told_of_what_takes_longer(
    store: Store, keruta: CommandLine, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from keruta_agent.cli import server_backup

    monkeypatch.setattr(server_backup, "_FIRST_S", 0.0)
    called = keruta("server", "backup", str(tmp_path / "b.tar"), "--data", str(tmp_path / "data"))
    assert called.code == 0
    assert called.err == f"100 % of {tmp_path}/data/server.db copied\n"
