"""Backups of a real server under load, and the servers that are restored from them."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import shutil
import signal
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests

from tests.helpers.api import Api
from tests.helpers.processes import Process, Workplace
from tests.helpers.waiting import wait_until

pytestmark = pytest.mark.on_sqlite

#: What an artifact of the tests holds; large enough that copies of many take a while.
CONTENT_BYTES = 200_000


class Writers:
    """Clients that file tasks, write lines and store and delete artifacts until they are told."""

    def __init__(self, url: str) -> None:
        self.url = url
        #: Tasks of which all is stored: their line, and the SHA-256 of their artifact.
        self.stored: dict[str, tuple[str, str]] = {}
        self.failures: list[BaseException] = []
        self._ended = threading.Event()
        self._threads = [threading.Thread(target=self._guarded) for _ in range(2)]

    def __enter__(self) -> Writers:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        for thread in self._threads:
            thread.join()

    def _guarded(self) -> None:
        try:
            self._write()
        except BaseException as exc:
            self.failures.append(exc)

    def _write(self) -> None:
        api = Api(self.url)
        for number in itertools.count():
            if self._ended.is_set():
                return
            task = api.file_task("true", name=f"task {number}")
            api.write_log(task, f"line of {task}")
            stored = _store(self.url, task, os.urandom(CONTENT_BYTES))
            if number % 4 == 3:
                requests.delete(f"{_artifacts(self.url, task)}/{stored['id']}", timeout=30)
                continue
            self.stored[task] = (f"line of {task}", stored["sha256"])


def _artifacts(url: str, task: str) -> str:
    return f"{url}/api/v1/tasks/{task}/artifacts"


def _store(url: str, task: str, content: bytes) -> dict[str, str]:
    answer = requests.post(_artifacts(url, task), files={"file": ("a.bin", content)}, timeout=30)
    assert answer.status_code == 201, answer.text
    return dict(answer.json())


def _check(api: Api, stored: dict[str, tuple[str, str]]) -> None:
    """Ask a server for everything that is known to be stored."""
    for task, (line, sha256) in stored.items():
        assert api.task(task)["status"] == "PENDING"
        assert [entry["message"] for entry in api.logs(task)] == [line]
        [artifact] = api.artifacts(task)
        content = requests.get(
            f"{_artifacts(api.url, task)}/{artifact['id']}/content", timeout=30
        ).content
        assert hashlib.sha256(content).hexdigest() == sha256 == artifact["sha256"]


def _filled(
    workplace: Workplace, tasks: int = 3
) -> tuple[Process, Api, dict[str, tuple[str, str]]]:
    """Start a server that has something to lose."""
    server, url = workplace.server()
    api = Api(url)
    stored = {}
    for _ in range(tasks):
        task = api.file_task("true")
        api.write_log(task, "kept")
        stored[task] = ("kept", _store(url, task, os.urandom(CONTENT_BYTES))["sha256"])
    return server, api, stored


@pytest.fixture
def backup(tmp_path: Path) -> Path:
    return tmp_path / "keruta.tar"


def test_backup_of_a_busy_server_is_restored_to_one_that_answers_everything(
    workplace: Workplace, backup: Path
) -> None:
    _, url = workplace.server(0, "--runner-services", *_free_ports())
    with Writers(url) as writers:
        wait_until(lambda: len(writers.stored) >= 10 or writers.failures, "tasks are stored")
        before = dict(writers.stored)
        done = workplace.run("server", "backup", str(backup), "--data", f"{workplace.path}/server")
        after = len(writers.stored)
        wait_until(lambda: len(writers.stored) > after or writers.failures, "writing goes on")
    assert not writers.failures
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"backed up {workplace.path}/server to {backup}: ")
    assert "Not in it: answers to secret questions" in done.stdout
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    assert list(backup.parent.glob("keruta.tar*")) == [backup]

    restored = workplace.run(
        "server", "restore", str(backup), "--data-dir", f"{workplace.path}/new"
    )
    assert restored.returncode == 0, restored.stderr
    _, new_url = workplace.server(name="new")
    api = Api(new_url)
    _check(api, before)
    # What came later is in it as a whole, or not at all: no file without a row, or the reverse.
    rows = {
        artifact["id"]
        for task in requests.get(f"{new_url}/api/v1/tasks", timeout=30).json()
        for artifact in api.artifacts(task["id"])
    }
    assert {file.name for file in (workplace.path / "new/artifacts").iterdir()} == rows


def test_backup_holds_what_the_runners_services_know(workplace: Workplace, backup: Path) -> None:
    server = workplace.start(
        "server",
        "--port",
        "0",
        "--data",
        f"{workplace.path}/server",
        "--runner-services",
        *_free_ports(),
    )
    server.wait_for("Artifact Store on")
    store = server.out.split("Artifact Store on ")[1].split()[0]
    answer = requests.post(
        f"{store}/artifacts",
        files={"file": ("a.diff", b"+ line\n")},
        data={"type": "diff", "metadata": "{}"},
        timeout=30,
    )
    assert answer.status_code in (200, 201), answer.text

    done = workplace.run(
        "server", "--data", f"{workplace.path}/server", "backup", str(backup), "--json"
    )

    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["file"] == str(backup)
    assert told["size"] == backup.stat().st_size
    assert told["databases"]["runner/server.db"]["runner_artifacts"] == 1
    assert (told["artifacts"], told["artifactBytes"], told["damaged"]) == (1, 7, 0)
    server.stop()
    workplace.run("server", "restore", str(backup), "--data", f"{workplace.path}/new")
    [file] = (workplace.path / "new/runner/artifacts").iterdir()
    assert file.read_bytes() == b"+ line\n"


def _free_ports() -> Iterator[str]:
    for option in ("--registry-port", "--pool-port", "--store-port"):
        yield from (option, "0")


def test_killed_backup_leaves_the_one_before_and_the_next_is_made_all_the_same(
    workplace: Workplace, backup: Path
) -> None:
    _, _, stored = _filled(workplace, 20)
    arguments = ("server", "backup", str(backup), "--data", f"{workplace.path}/server")
    assert workplace.run(*arguments).returncode == 0
    before = backup.read_bytes()
    part = backup.with_name("keruta.tar.part")

    for seen in ("server.db", "archive"):
        process = workplace.start(*arguments)
        _wait_for(part / seen, process)
        process.signal(signal.SIGKILL)
        process.wait()
        left = backup.read_bytes()
        # The kill may come when the new one has just been put in its place.
        assert left == before or not part.exists()
        before = left

    assert workplace.run(*arguments).returncode == 0
    assert not part.exists()
    assert (
        workplace.run(
            "server", "restore", str(backup), "--data", f"{workplace.path}/new"
        ).returncode
        == 0
    )
    _, url = workplace.server(name="new")
    _check(Api(url), stored)


def _wait_for(file: Path, process: Process) -> None:
    wait_until(lambda: file.exists() or not process.running, f"{file.name} is written")


def test_full_disk_leaves_the_backup_and_the_directory_of_before(
    workplace: Workplace, backup: Path
) -> None:
    server, _, _ = _filled(workplace, 20)
    data = f"{workplace.path}/server"
    assert workplace.run("server", "backup", str(backup), "--data", data).returncode == 0
    before = backup.read_bytes()

    for most in ("1", "400", "2000"):  # KiB: the copy of the database, or the archive
        done = _with_largest_file(workplace, most, "server", "backup", str(backup), "--data", data)
        assert done[0] == 1, done
        assert f"keruta: cannot back up {data} to {backup}: " in done[1], done
        assert "Make room on that disk" in done[1]
        assert backup.read_bytes() == before
        assert list(backup.parent.glob("keruta.tar*")) == [backup]

    server.stop()
    listed = _listing(Path(data))
    done = _with_largest_file(
        workplace, "100", "server", "restore", str(backup), "--data", data, "--replace"
    )
    assert done[0] == 1
    assert done[1].startswith(f"keruta: cannot restore {backup} to {data}: "), done
    assert _listing(Path(data)) == listed


def _with_largest_file(workplace: Workplace, kib: str, *arguments: str) -> tuple[int, str]:
    """Run ``keruta`` where no file may be larger: what it writes fails as on a full disk."""
    import subprocess

    from tests.helpers.processes import KERUTA

    bash = shutil.which("bash")
    assert bash is not None
    done = subprocess.run(
        [bash, "-c", 'ulimit -f "$1"; shift; exec "$@"', "bash", kib, KERUTA, *arguments],
        env=workplace.environment,
        capture_output=True,
        encoding="utf-8",
        check=False,
    )
    return done.returncode, done.stderr


def _listing(directory: Path) -> dict[str, bytes]:
    return {
        str(file.relative_to(directory)): file.read_bytes()
        for file in directory.rglob("*")
        if file.is_file()
    }


def test_restore_refuses_a_directory_that_is_in_use_or_has_data(
    workplace: Workplace, backup: Path
) -> None:
    server, api, stored = _filled(workplace)
    data = f"{workplace.path}/server"
    assert workplace.run("server", "backup", str(backup), "--data", data).returncode == 0
    api.file_task("true", name="later")

    in_use = workplace.run("server", "restore", str(backup), "--data", data, "--replace")
    assert in_use.returncode == 1
    assert "another keruta server uses the data directory" in in_use.stderr

    server.stop()
    has_data = workplace.run("server", "restore", str(backup), "--data", data)
    assert has_data.returncode == 1
    assert "has data already" in has_data.stderr
    assert "--replace" in has_data.stderr

    replaced = workplace.run("server", "restore", str(backup), "--data", data, "--replace")
    assert replaced.returncode == 0, replaced.stderr
    assert (workplace.path / "server/replaced/server.db").exists()
    _, url = workplace.server()
    _check(Api(url), stored)
    names = {task["name"] for task in requests.get(f"{url}/api/v1/tasks", timeout=30).json()}
    assert "later" not in names

    again = workplace.run("server", "restore", str(backup), "--data", data, "--replace")
    assert again.returncode == 1


def test_damaged_artifacts_are_named_and_all_others_are_backed_up(
    workplace: Workplace, backup: Path
) -> None:
    _, api, stored = _filled(workplace)
    changed, missing, whole = stored
    files = workplace.path / "server/artifacts"
    [of_changed], [of_missing] = api.artifacts(changed), api.artifacts(missing)
    (files / of_changed["id"]).write_bytes(b"x" * CONTENT_BYTES)
    (files / of_missing["id"]).unlink()

    done = workplace.run(
        "server", "backup", str(backup), "--data", f"{workplace.path}/server", "--json"
    )

    assert done.returncode == 1
    assert "2 artifacts in " in done.stderr
    assert sorted(json.loads(done.stdout)["damagedNames"]) == sorted(
        [
            f"artifacts/{of_changed['id']}: its SHA-256 is another one",
            f"artifacts/{of_missing['id']}: there is no such file",
        ]
    )
    restored = workplace.run("server", "restore", str(backup), "--data", f"{workplace.path}/new")
    assert restored.returncode == 0, restored.stderr
    _, url = workplace.server(name="new")
    _check(Api(url), {whole: stored[whole]})


def test_backup_without_artifacts_holds_what_is_known_of_them(
    workplace: Workplace, backup: Path
) -> None:
    _, _, stored = _filled(workplace)
    done = workplace.run(
        *("server", "backup", str(backup), "--without-artifacts"),
        *("--data", f"{workplace.path}/server"),
    )
    assert done.returncode == 0, done.stderr
    assert "without artifacts" in done.stdout
    assert (
        workplace.run(
            "server", "restore", str(backup), "--data", f"{workplace.path}/new"
        ).returncode
        == 0
    )
    _, url = workplace.server(name="new")
    for task, (_, sha256) in stored.items():
        [artifact] = Api(url).artifacts(task)
        assert artifact["sha256"] == sha256
        content = requests.get(f"{_artifacts(url, task)}/{artifact['id']}/content", timeout=30)
        assert content.status_code == 404
