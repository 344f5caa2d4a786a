from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from keruta_agent.agent.workspace import checkout, moved, recovery
from keruta_agent.agent.workspace.checkout import CheckoutRequest, Place
from keruta_agent.agent.workspace.made import MadeClones
from keruta_agent.agent.workspace.moved import Moved
from keruta_agent.core import file_trees
from keruta_agent.git import clone, url
from keruta_agent.git.access.credentials import GitAccess
from keruta_agent.git.clone import Clone, CloneOptions
from keruta_agent.git.command import Git
from keruta_agent.git.scan import Limits
from tests.helpers.repositories import Repository, git, make_repository
from tests.helpers.superprojects import Superproject

SESSION = "29229ea1-8c41-4ca2-b064-7a7a7672dd1a"
TASK = "12345678-1234-4ca2-b064-7a7a7672dd1a"
BRANCH = "keruta-task-29229ea1-12345678"
LIMITS = Limits(largest_file=1_000_000, holds_secret=lambda data: b"hunter22-and-more" in data)


@pytest.fixture(autouse=True)
def nobodys_configuration(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith(("GIT_", "KERUTA_", "SSH_"))]:
        monkeypatch.delenv(name)
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return make_repository(tmp_path / "project.git")


@pytest.fixture
def library(tmp_path: Path) -> Repository:
    return make_repository(tmp_path / "library.git", {"lib.txt": "lib\n", ".gitignore": "*.o\n"})


@pytest.fixture
def superproject(
    repository: Repository, library: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Superproject:
    """The repository, with the library as its submodule."""
    monkeypatch.setenv("GIT_ALLOW_PROTOCOL", "file")
    return Superproject(repository, library, tmp_path / "person")


#: Makes directories in each other: the outermost one's place, how many, and their name.
MakeDeep = Callable[[Path, int, str], None]


@pytest.fixture
def make_deep(tmp_path: Path) -> Iterator[MakeDeep]:
    """What is left of them is removed, also after a failure: it is too deep for pytest to do so."""

    def make(top: Path, levels: int, name: str) -> None:
        here = os.open(top, os.O_RDONLY)
        for _ in range(levels):
            os.mkdir(name, dir_fd=here)
            inner = os.open(name, os.O_RDONLY, dir_fd=here)
            os.close(here)
            here = inner
        os.close(os.open("f", os.O_CREAT | os.O_WRONLY, dir_fd=here))
        os.close(here)

    yield make
    for place in tmp_path.iterdir():
        file_trees.remove(place)


class Worker:
    """One agent's hands on a repository."""

    def __init__(self, directory: Path, address: str, *, token: str | None = None) -> None:
        self.directory = directory
        self.said: list[str] = []
        self.url = url.parse(address)
        directory.mkdir(parents=True, exist_ok=True)
        hosts = (f"{self.url.scheme}://{self.url.host}",)
        access = GitAccess(token=token, username="hanako", token_hosts=hosts)
        self.credentials = access.credentials(self.url)
        self.timeout_s = 20.0
        self.options = CloneOptions()

    def git(self) -> Git:
        return Git(
            self.directory,
            timeout_s=self.timeout_s,
            url=self.url,
            credentials=self.credentials,
        )

    def open(self) -> Clone:
        return clone.open_or_make(self.git(), self.url, self.options, self.said.append)

    def prepare(self, *, task: str = TASK, ref: str = "", goes_on: bool = True) -> Place:
        wanted = CheckoutRequest(
            session_id=SESSION, task_id=task, run_uid="0123abcd", ref=ref, goes_on=goes_on
        )
        self.place = checkout.prepare(self.open(), wanted, self.said.append)
        return self.place


OTHER_TASK = "87654321-1234-4ca2-b064-7a7a7672dd1a"


class Workspace(Worker):
    """A clone that is brought to one task after the other."""

    def __init__(self, directory: Path, address: str) -> None:
        super().__init__(directory, address)
        self.made = MadeClones(notes=directory.parent / "made")

    def bring(self, *, task: str = TASK, ref: str = "") -> Place:
        self.said.clear()
        wanted = CheckoutRequest(session_id=SESSION, task_id=task, run_uid="0123abcd", ref=ref)
        return recovery.bring(
            *(self.git(), self.url, self.options, self.made, wanted), self.said.append
        )

    @property
    def moved(self) -> list[Moved]:
        return moved.all_beside(self.directory)

    @property
    def git_dir(self) -> Path:
        return self.directory / ".git"

    def commit(self, name: str) -> str:
        """Commit a file as a script does."""
        (self.directory / name).write_text(name)
        git(self.directory, "add", name)
        git(self.directory, "commit", "--quiet", "-m", name)
        return git(self.directory, "rev-parse", "HEAD")

    def break_object(self, name: str) -> None:
        """Empty an object, as a power cut does."""
        file = self.git_dir / "objects" / name[:2] / name[2:]
        if not file.exists():  # in a pack
            for pack in (self.git_dir / "objects" / "pack").glob("*.pack"):
                data = pack.rename(self.directory.parent / "pack")
                with data.open("rb") as stream:
                    subprocess.run(
                        ["git", "unpack-objects", "-q"],
                        cwd=self.directory,
                        stdin=stream,
                        check=True,
                    )
        file.chmod(0o600)
        file.write_bytes(b"")


@pytest.fixture
def workspace(tmp_path: Path, repository: Repository) -> Workspace:
    found = Workspace(tmp_path / "w", str(repository.path))
    found.bring()
    return found


def empty(file: Path) -> None:
    file.write_bytes(b"")
