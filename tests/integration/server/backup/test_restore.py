"""What a restore refuses, and that a kill in its middle leaves the old or the new."""

from __future__ import annotations

import io
import json
import sqlite3
import subprocess
import sys
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from keruta_agent import __version__
from keruta_agent.core import errors
from keruta_agent.server.backup import archive
from keruta_agent.server.backup.create import create
from keruta_agent.server.backup.restore import restore
from keruta_agent.server.store import restored
from keruta_agent.server.store.store import Store

pytestmark = pytest.mark.on_sqlite

CONTENT: Final = b"what an artifact holds\n"
Members = dict[str, tuple[tarfile.TarInfo, bytes]]


def quietly(what: str, done: int, total: int) -> None:
    """Report to nobody."""


def _data_directory(path: Path, name: str) -> Path:
    """Make the data directory of a server that has a session of this name, and an artifact."""
    store = Store.open(path)
    try:
        with store.writing() as change:
            row = {"id": name, "name": name, "status": "ACTIVE", "tags": "[]", "description": ""}
            folded = {"id_folded": name, "name_folded": name}
            change.tables.sessions.insert(**row, **folded, created_at=1, updated_at=1).execute()
            change.tables.runner_artifacts.insert(
                id=f"of-{name}",
                type="log",
                metadata="{}",
                spec_name="",
                task_id="",
                size=len(CONTENT),
                sha256=_sha256(CONTENT),
                created_at=2**60,
            ).execute()
        (path / "artifacts" / f"of-{name}").write_bytes(CONTENT)
    finally:
        store.close()
    return path


def _sha256(content: bytes) -> str:
    import hashlib

    return hashlib.sha256(content).hexdigest()


def sessions(data_dir: Path) -> list[str]:
    """Return what is in a data directory, and check that it is whole."""
    store = Store.open(data_dir)
    try:
        with store.database.connected():
            names = [row["id"] for row in store.tables.sessions.select().dicts()]
        assert [file.name for file in (data_dir / "artifacts").iterdir()] == [
            f"of-{name}" for name in names
        ]
    finally:
        store.close()
    return names


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    data_dir = _data_directory(tmp_path / "source", "new")
    create(data_dir, tmp_path / "backup.tar", with_artifacts=True, report=quietly)
    return tmp_path / "backup.tar"


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "target"


def _restore(backup: Path, target: Path, **options: bool) -> None:
    restore(backup, target, replace=options.get("replace", False), report=quietly)


def test_backup_is_restored_as_it_was(backup: Path, target: Path) -> None:
    _restore(backup, target)
    assert sessions(target) == ["new"]
    assert (target / "artifacts" / "of-new").read_bytes() == CONTENT


def test_ordinary_tools_verify_a_backup(backup: Path, tmp_path: Path) -> None:
    (tmp_path / "unpacked").mkdir()
    for command in (["tar", "xf", str(backup)], ["sha256sum", "--check", "--quiet", "SHA256SUMS"]):
        subprocess.run(command, cwd=tmp_path / "unpacked", check=True)


#: Restores once a step, each time into a copy of a directory, and kills itself there; prints those.
_KILLED: Final = """
import itertools, os, shutil, signal, sys
from pathlib import Path
from tests.integration.server.backup.test_restore import quietly
from keruta_agent.server.backup.restore import restore

backup, old = Path(sys.argv[1]), Path(sys.argv[2])

def dying(original, left):
    def call(*arguments, **named):
        if next(left) == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **named)
    return call

def restore_and_die(target, step):
    left = itertools.count(step, -1)
    # Whatever changes a directory.
    for owner, name in (
        (Path, "rename"), (Path, "mkdir"), (Path, "rmdir"), (os, "fsync"), (os, "open"),
    ):
        setattr(owner, name, dying(getattr(owner, name), left))
    restore(backup, target, replace=True, report=quietly)
    os._exit(0)

for step in itertools.count():
    target = old.with_name(f"target-{step}")
    shutil.copytree(old, target)
    child = os.fork()
    if child == 0:
        try:
            restore_and_die(target, step)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status):
        sys.exit(os.waitstatus_to_exitcode(status))
    print(target)
"""


def test_restore_that_is_killed_leaves_the_old_or_the_new(backup: Path, tmp_path: Path) -> None:
    old = _data_directory(tmp_path / "old", "old")
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, str(backup), str(old)],
        check=True,
        stdout=subprocess.PIPE,
        encoding="utf-8",
    )
    targets = [Path(line) for line in done.stdout.splitlines()]
    assert len(targets) > 20
    found = []
    for target in targets:
        restored.settle(target)

        found.append(sessions(target))
        if found[-1] == ["new"]:
            assert sessions(target / "replaced") == ["old"]
            continue
        # The next try is not held up by what this one left.
        _restore(backup, target, replace=True)
        assert sessions(target) == ["new"]
    assert found == sorted(found, reverse=True)
    assert found[0] == ["old"]
    assert found[-1] == ["new"]


def _rewritten(backup: Path, change: Callable[[Members], None], *, sums: bool = True) -> Path:
    """Change the members of a backup, and write their sums anew: it is whole, and hostile."""
    with tarfile.open(backup) as tar:
        members: Members = {}
        for info in tar.getmembers():
            file = tar.extractfile(info)
            members[info.name] = (info, file.read() if file else b"")
    change(members)
    if sums:
        lines = [
            f"{_sha256(content)}  {name}\n"
            for name, (_, content) in members.items()
            if name != archive.SUMS
        ]
        info, _ = members.pop(archive.SUMS)
        members[archive.SUMS] = (info, "".join(lines).encode())
    path = backup.with_name("rewritten.tar")
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for info, content in members.values():
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def _refusal(backup: Path, target: Path) -> str:
    """Return how a backup is refused, which leaves nothing."""
    with pytest.raises(errors.AgentStateError) as caught:
        _restore(backup, target)
    assert not target.exists() or [file.name for file in target.iterdir()] == ["server.lock"]
    text = str(caught.value)
    assert "\n" not in text
    return text


def _member(name: str, **fields: Any) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    for field, value in fields.items():
        setattr(info, field, value)
    return info


@pytest.mark.parametrize(
    "info",
    [
        _member("artifacts/link", type=tarfile.SYMTYPE, linkname="/etc/passwd"),
        _member("artifacts/hard", type=tarfile.LNKTYPE, linkname="server.db"),
        _member("artifacts", type=tarfile.SYMTYPE, linkname="/tmp"),
        _member("artifacts/fifo", type=tarfile.FIFOTYPE),
        _member("artifacts/device", type=tarfile.CHRTYPE),
        _member("artifacts/directory", type=tarfile.DIRTYPE),
        _member("artifacts/sparse", type=tarfile.GNUTYPE_SPARSE),
        _member("/etc/cron.d/task"),
        _member("../outside"),
        _member("artifacts/../../outside"),
        _member("artifacts/.."),
        _member("artifacts/a/b"),
        _member("./server.db"),
        _member("server.db-wal"),
        _member("pages.key"),
        _member("artifacts/with\nline"),
        _member("artifacts/" + "a" * 81),
        _member("restore.ready"),
    ],
    ids=lambda info: f"{info.name[:30]!a}-{info.type!a}",
)
def test_foreign_members_are_refused(info: tarfile.TarInfo, backup: Path, target: Path) -> None:
    hostile = _rewritten(backup, lambda members: members.update(foreign=(info, b"")))
    refusal = _refusal(hostile, target)
    assert refusal.startswith(f"{hostile} is no whole backup: ")


def test_members_that_describe_others_are_refused_unread(backup: Path, target: Path) -> None:
    path = backup.with_name("pax.tar")
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        tar.addfile(_member("backup.json", pax_headers={"path": "../outside"}))
    assert "is no regular file" in _refusal(path, target)


def test_member_that_comes_twice_is_refused(backup: Path, target: Path) -> None:
    def twice(members: Members) -> None:
        members["again"] = (_member("artifacts/of-new"), b"something else")

    assert "artifacts/of-new is in it twice" in _refusal(_rewritten(backup, twice), target)


def test_backup_that_was_changed_is_refused(backup: Path, target: Path) -> None:
    content = backup.read_bytes()
    place = content.index(CONTENT)
    backup.write_bytes(content[:place] + b"W" + content[place + 1 :])
    assert "its content is not what SHA256SUMS says" in _refusal(backup, target)


@pytest.mark.parametrize("part", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_backup_that_was_cut_off_is_refused(part: float, backup: Path, target: Path) -> None:
    with tarfile.open(backup) as tar:
        end = tar.getmember(archive.SUMS).offset_data
    backup.write_bytes(backup.read_bytes()[: int(end * part)])
    assert "is no whole backup" in _refusal(backup, target)


@pytest.mark.parametrize("name", ["server.db", "contents.json", "backup.json", "SHA256SUMS"])
def test_backup_without_a_part_is_refused(name: str, backup: Path, target: Path) -> None:
    changed = _rewritten(
        backup, lambda members: members.pop(name) and None, sums=name != "SHA256SUMS"
    )
    assert "is no whole backup" in _refusal(changed, target)


def test_backup_that_lacks_an_artifact_is_refused(backup: Path, target: Path) -> None:
    changed = _rewritten(backup, lambda members: members.pop("artifacts/of-new") and None)
    assert "1 artifacts are missing" in _refusal(changed, target)


def test_backup_with_other_rows_than_it_names_is_refused(backup: Path, target: Path) -> None:
    def lie(members: Members) -> None:
        info, text = members["contents.json"]
        told = json.loads(text)
        told["databases"]["server.db"]["sessions"] = 2
        members["contents.json"] = (info, json.dumps(told).encode())

    assert "server.db has not the rows that it names" in _refusal(_rewritten(backup, lie), target)


def test_backup_of_a_damaged_database_is_refused(backup: Path, target: Path) -> None:
    def damage(members: Members) -> None:
        info, content = members["server.db"]
        members["server.db"] = (info, content[:4096] + b"\xff" * 4096 + content[8192:])

    assert "server.db is damaged: " in _refusal(_rewritten(backup, damage), target)


@pytest.mark.parametrize("nonsense", ["[]", "{}", "nonsense", '{"format": "x"}', "[" * 5000])
@pytest.mark.parametrize("name", ["backup.json", "contents.json"])
def test_descriptions_that_make_no_sense_are_refused(
    name: str, nonsense: str, backup: Path, target: Path
) -> None:
    def change(members: Members) -> None:
        members[name] = (members[name][0], nonsense.encode())

    assert "is no whole backup" in _refusal(_rewritten(backup, change), target)


def test_file_that_is_no_archive_is_refused(tmp_path: Path, target: Path) -> None:
    path = tmp_path / "backup.tar"
    path.write_bytes(b"no archive at all" * 1000)
    assert "is no whole backup" in _refusal(path, target)


@pytest.mark.parametrize(
    "change",
    [
        {"format": 2},
        {"schemas": {"server.db": ["0001_first", "0999_later", "keruta-agent 8.1.0"]}},
    ],
    ids=["another format", "a newer schema"],
)
def test_backup_of_a_newer_version_is_refused_with_the_way_back(
    change: dict[str, Any], backup: Path, target: Path
) -> None:
    def newer(members: Members) -> None:
        info, text = members["backup.json"]
        told = {**json.loads(text), "version": "8.1.0", **change}
        members["backup.json"] = (info, json.dumps(told).encode())

    path = _rewritten(backup, newer)
    refusal = _refusal(path, target)
    assert refusal.startswith(
        f"the backup {path} was written by a newer keruta-agent, 8.1.0, than this one"
        f" ({__version__}). Install keruta-agent 8.1.0 or later, or restore "
    )


def test_backup_of_an_older_version_is_migrated_by_the_server(tmp_path: Path, target: Path) -> None:
    old = tmp_path / "old"
    old.mkdir()
    with sqlite3.connect(old / "server.db") as connection:
        connection.execute(
            "CREATE TABLE schema_migrations (name TEXT PRIMARY KEY, applied_at BIGINT NOT NULL)"
        )
    connection.close()
    create(old, tmp_path / "old.tar", with_artifacts=True, report=quietly)
    _restore(tmp_path / "old.tar", target)
    assert sessions(target) == []
