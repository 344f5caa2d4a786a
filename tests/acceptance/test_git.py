"""Tasks in a repository behind a password, by real daemons that are killed at every step."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.api import Api
from tests.helpers.git_http import PASSWORD, USER, GitHttpServer, git_http_server
from tests.helpers.processes import Process, Workplace
from tests.helpers.repositories import Repository, git, make_repository

#: A git that kills the agent when it is asked for the word in the file, once. Then it goes on, as
#: one that its agent left behind; or it is killed too, and leaves its lock.
SHIM = """#!/bin/sh
for argument in "$@"; do
    if [ "$argument" = "$(cat {plan}/word 2> /dev/null)" ] && rm {plan}/word; then
        kill -9 $PPID
        if [ -e {plan}/dies ]; then
            touch .git/index.lock
            exit 1
        fi
        sleep 0.3
    fi
done
exec {git} "$@"
"""


#: At which command the agent is killed, and whether that git dies with it.
KILLS = [
    # The first one belongs to the clone, the next one brings another task up to date.
    ("fetch", False),
    ("fetch", True),
    ("commit", True),
    ("push", False),
    # What was pushed is there, and was not noted.
    ("update-ref", True),
]


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    (tmp_path / "srv").mkdir()
    repository = make_repository(tmp_path / "srv" / "project.git")
    git(repository.path, "config", "http.receivepack", "true")
    return repository


@pytest.fixture
def server(repository: Repository) -> Iterator[GitHttpServer]:
    with git_http_server(repository.path.parent) as server:
        yield server


class Sampler:
    """A thread that reads the command lines of all processes."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self.looks = 0
        self.seen: list[bytes] = []

    def __enter__(self) -> Sampler:
        self._thread.start()
        return self

    def __exit__(self, *details: object) -> None:
        self._stop.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._stop.wait(0.02):
            self.looks += 1
            for process in Path("/proc").glob("[0-9]*"):
                try:
                    line = (process / "cmdline").read_bytes()
                except OSError:  # gone meanwhile
                    continue
                if self._secret in line:
                    self.seen.append(line)


def holding(root: Path, secret: str) -> list[Path]:
    """Return the files below a directory that hold a secret in any byte."""
    files = [path for path in root.rglob("*") if path.is_file() and not path.is_symlink()]
    assert len(files) > 50
    return [path for path in files if secret.encode() in path.read_bytes()]


def test_daemon_killed_at_every_step_of_git_loses_and_doubles_nothing(
    workplace: Workplace, repository: Repository, server: GitHttpServer, tmp_path: Path
) -> None:
    plan = tmp_path / "plan"
    plan.mkdir()
    shim = workplace.write_script("programs/git", SHIM.format(plan=plan, git=shutil.which("git")))
    environment = {
        "PATH": f"{shim.parent}:{workplace.environment['PATH']}",
        "GIT_TOKEN": PASSWORD,
        "KERUTA_GIT_USERNAME": USER,
        "KERUTA_GIT_TOKEN_HOSTS": f"http://{server.host}",
    }
    _, url = workplace.server()
    api = Api(url, repository_url=server.url(repository))
    environment |= {"KERUTA_API_URL": url, "KERUTA_SESSION_ID": api.session_id}
    daemon: Process = workplace.daemon(**environment)
    tasks = []
    with Sampler(PASSWORD) as sampler:
        for number, (word, dies) in enumerate(KILLS):
            (plan / "dies").touch() if dies else (plan / "dies").unlink(missing_ok=True)
            repository.commit("main", {f"upstream-{number}": "x"})  # there is something to fetch
            (plan / "word").write_text(word)
            tasks.append(api.file_task(f"echo run >> {tmp_path}/runs-{number}; echo x > new.txt"))
            assert daemon.wait() == -9
            daemon = workplace.daemon(**environment)
            ended = api.wait_for(tasks[-1])
            assert (ended["status"], ended["message"][:6]) == ("COMPLETED", "Pushed"), word
            assert (tmp_path / f"runs-{number}").read_text() == "run\n"
    api.end_session()
    assert daemon.wait() == 0
    assert len(repository.task_branches) == len(tasks)
    mains = range(2, len(tasks) + 2)  # commits on main when each task began
    counts = sorted(repository.count(branch) for branch in repository.task_branches)
    assert counts == [commits + 1 for commits in mains]
    assert sampler.looks > 10
    assert sampler.seen == []
    assert holding(tmp_path, PASSWORD) == []
