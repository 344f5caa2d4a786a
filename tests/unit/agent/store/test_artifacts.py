"""What is known of artifacts, and what becomes of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from keruta_agent.agent.store.artifacts import ArtifactState, Owner, named
from keruta_agent.agent.store.outbox import Kind
from keruta_agent.agent.store.store import Records
from keruta_agent.core.model import ArtifactFile

TASK = Owner(task_id="t1")


@pytest.fixture
def add(records: Records, tmp_path: Path):
    def add(path: str, *, key: str = "k", sha256: str = "aa", owner: Owner = TASK):
        file = tmp_path / key
        file.write_text("x")
        stored = ArtifactFile(file=file, relative_path=path, size=1, sha256=sha256)
        records.artifacts.add(owner, stored, key=key, is_copy=True)
        found = records.artifacts.by_key(key)
        assert found is not None
        return found

    return add


def test_artifact_waits_in_the_outbox(records: Records, add) -> None:
    found = add("a/b")
    entry = records.outbox.entry_of("k")
    assert found.state is ArtifactState.WAITING
    assert entry is not None
    assert (entry.kind, entry.payload["relative_path"]) == (Kind.ARTIFACT, "a/b")


def test_same_key_is_stored_once(records: Records, add) -> None:
    add("a")
    add("a")
    assert len(records.artifacts.of(TASK)) == 1


def test_only_the_newest_content_of_a_path_is_known(records: Records, add) -> None:
    add("a", key="1", sha256="old")
    add("a", key="2", sha256="new")
    assert records.artifacts.known(TASK, "a", "old") is None
    assert records.artifacts.known(TASK, "a", "new") is not None
    assert records.artifacts.known(Owner(task_id="t2"), "a", "new") is None


def test_waiting_artifact_is_taken_back_with_its_copy(records: Records, add) -> None:
    found = add("a")
    assert records.artifacts.remove(found) is ArtifactState.WAITING
    assert records.outbox.entry_of("k") is None
    assert not Path(found.file).exists()
    assert records.artifacts.of(TASK)[0].state is ArtifactState.REMOVED


def test_artifact_on_its_way_is_not_torn_from_under_the_upload(records: Records, add) -> None:
    found = add("a")
    batch = records.outbox.take("t1")
    assert batch is not None
    assert records.artifacts.remove(found) is None
    assert Path(found.file).exists()
    settled = records.artifacts.settle("k", ArtifactState.SENT)
    assert settled is not None
    assert settled.state is ArtifactState.REMOVED


def test_refused_artifact_is_removed_from_the_outbox_too(records: Records, add) -> None:
    found = add("a")
    batch = records.outbox.take("t1")
    assert batch is not None
    records.outbox.set_aside(batch, "no")
    records.artifacts.settle("k", ArtifactState.REFUSED, "no")
    assert records.artifacts.remove(found) is ArtifactState.REFUSED
    assert records.outbox.counts().dead_letters == 0


def test_name_finds_the_newest_path_or_the_only_file_of_that_name(records: Records, add) -> None:
    add("a/x", key="1")
    newest = add("a/x", key="2", sha256="bb")
    only = add("b/y", key="3")
    add("c/x", key="4")
    there = records.artifacts.of(TASK)
    assert named(there, ["a/x"]) == newest
    assert named(there, ["y"]) == only
    assert named(there, ["x"]) is None
    records.artifacts.remove(only)
    assert named(records.artifacts.of(TASK), ["b/y", "y"]) is None


def test_path_on_this_machine_need_not_be_text(records: Records, tmp_path: Path) -> None:
    file = tmp_path / "\udc82"
    stored = ArtifactFile(file=file, relative_path="%82", size=1, sha256="aa")
    records.artifacts.add(TASK, stored, key="k", is_copy=False)
    assert records.artifacts.of(TASK)[0].file == str(file)
