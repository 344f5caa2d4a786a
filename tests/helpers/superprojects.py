"""Repositories with a submodule, changed as a person would."""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.helpers.repositories import Repository, git

#: Where the submodule is.
SUBMODULE = "部品 置き場/lib"


class Superproject:
    """A repository with a submodule, changed as a person would."""

    def __init__(self, repository: Repository, library: Repository, person: Path) -> None:
        self.repository = repository
        self.library = library
        self.person = person
        git(person.parent, "clone", "--quiet", str(repository.path), str(person))
        self.add(str(library.path), SUBMODULE)

    def add(self, address: str, path: str) -> None:
        git(self.person, "submodule", "--quiet", "add", "--name", "lib", address, path)
        self.publish()

    def publish(self) -> None:
        git(self.person, "add", "--all")
        git(self.person, "commit", "--quiet", "--message", "Change submodules")
        git(self.person, "push", "--quiet", "origin", "HEAD:main")

    def remove(self, path: str = SUBMODULE) -> None:
        git(self.person, "rm", "--quiet", "--force", path)
        shutil.rmtree(self.person / ".git" / "modules")

    def update(self) -> None:
        git(self.person / SUBMODULE, "pull", "--quiet", "origin", "main")
        self.publish()


def commit_in(directory: Path, files: dict[str, str]) -> str:
    for name, text in files.items():
        (directory / name).write_text(text)
    git(directory, "add", "--all")
    git(directory, "commit", "--quiet", "--message", "A change of the task")
    return git(directory, "rev-parse", "HEAD")
