"""Orphans in an object store: removed, but for those that somebody may be about to use."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from keruta_agent.server.store.artifacts import sweeper
from keruta_agent.server.store.artifacts.objects import Objects
from keruta_agent.server.store.artifacts.sweeper import Sweeper
from keruta_agent.server.store.database import Database, open_database
from keruta_agent.server.store.store import Store
from keruta_agent.server.store.tables import Tables, now
from tests.helpers.object_server import Bucket
from tests.helpers.waiting import wait_until

#: In the past of whatever is stored now, as far as clocks that tell whole seconds can say.
NO_GRACE = timedelta(seconds=-10)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with contextlib.closing(open_database(tmp_path, None)) as opened:
        yield opened


@dataclasses.dataclass
class Swept:
    """A store and the database that it belongs to."""

    bucket: Bucket
    database: Database
    prefix: str = "p"
    identity: str = "one database"

    def sweeper(self, grace: timedelta = NO_GRACE) -> Sweeper:
        table = Tables(self.database).runner_artifacts
        objects = Objects(self.bucket.location(self.prefix))
        return Sweeper(objects, self.database, table, identity=self.identity, grace=grace)

    def add(self, artifact_id: str, *, has_row: bool) -> None:
        self.bucket.put(f"{self.prefix}/artifacts/{artifact_id}")
        if has_row:
            with self.database.connected():
                Tables(self.database).runner_artifacts.insert(**_row(artifact_id)).execute()

    def left(self) -> set[str]:
        return self.bucket.artifacts(self.prefix)


def _row(artifact_id: str) -> dict[str, Any]:
    texts = dict.fromkeys(("type", "metadata", "spec_name", "task_id", "sha256"), "")
    return {**texts, "id": artifact_id, "size": 1, "created_at": now()}


@pytest.fixture
def swept(bucket: Bucket, database: Database) -> Swept:
    return Swept(bucket, database)


def test_objects_without_a_row_are_removed_a_batch_at_a_time(
    swept: Swept, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(sweeper, "_BATCH", 2)
    for number in range(5):
        swept.add(f"orphan-{number}", has_row=False)
    for number in range(3):
        swept.add(f"known-{number}", has_row=True)
    with caplog.at_level("INFO"):
        swept.sweeper().sweep()
    assert swept.left() == {"known-0", "known-1", "known-2"}
    assert "removed 5 objects" in caplog.text


def test_young_object_may_be_another_servers_upload_and_stays(swept: Swept) -> None:
    swept.add("in flight", has_row=False)
    swept.sweeper(sweeper.GRACE).sweep()
    assert swept.left() == {"in flight"}


def test_store_of_another_database_is_not_swept(
    swept: Swept, caplog: pytest.LogCaptureFixture
) -> None:
    swept.sweeper().sweep()
    swept.add("of the first", has_row=False)
    other = dataclasses.replace(swept, identity="another database").sweeper()
    other.sweep()
    other.sweep()
    assert swept.left() == {"of the first"}
    assert caplog.text.count("holds the artifacts of another database") == 1
    swept.sweeper().sweep()
    assert swept.left() == set()


def test_stores_that_share_a_bucket_sweep_their_own(swept: Swept) -> None:
    beside, below = (dataclasses.replace(swept, prefix=prefix) for prefix in ("p2", "p/runner"))
    for each in (beside, below):
        each.add("theirs", has_row=False)
    swept.add("own", has_row=False)
    swept.sweeper().sweep()
    assert swept.left() == set()
    assert beside.left() == below.left() == {"theirs"}


def test_many_removals_are_done_in_batches_whether_there_is_an_object_or_not(swept: Swept) -> None:
    for number in range(0, 1_200, 100):
        swept.add(str(number), has_row=False)
    running = swept.sweeper(sweeper.GRACE)
    running.start()
    with contextlib.closing(running):
        running.remove(map(str, range(1_200)))
        wait_until(lambda: not swept.left(), "all of them are removed")


def test_copy_of_a_database_is_another_one(bucket: Bucket, tmp_path: Path) -> None:
    """Such as a backup that somebody looks into, beside the server that goes on."""
    with contextlib.closing(Store.open(tmp_path / "first", None, bucket.location())):
        pass
    noted = bucket.content("artifacts.database")
    (tmp_path / "copy").mkdir()
    copied = (tmp_path / "first" / "server.db").read_bytes()
    (tmp_path / "copy" / "server.db").write_bytes(copied)
    with contextlib.closing(Store.open(tmp_path / "copy", None, bucket.location())) as store:
        assert store.directory.identity.encode() != noted
    assert bucket.content("artifacts.database") == noted


def test_servers_of_one_postgresql_are_known_by_the_same(
    bucket: Bucket, tmp_path: Path, postgresql_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("first", "second"):
        with contextlib.closing(Store.open(tmp_path / name, postgresql_url, bucket.location())):
            pass
    assert "another database" not in caplog.text
