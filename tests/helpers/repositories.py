"""Repositories to work with: bare ones on disk, and what is in them."""

from __future__ import annotations

import os
import subprocess
import tempfile
from functools import cache
from pathlib import Path

IDENTITY = {
    "GIT_AUTHOR_NAME": "花子",
    "GIT_AUTHOR_EMAIL": "hanako@example.com",
    "GIT_COMMITTER_NAME": "花子",
    "GIT_COMMITTER_EMAIL": "hanako@example.com",
}


def git(directory: Path, *arguments: str, stdin: str = "", **variables: str) -> str:
    """Run git as a person would, without anybody's configuration."""
    plain = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1", **IDENTITY}
    done = subprocess.run(
        ["git", *arguments],
        cwd=directory,
        env={**os.environ, **plain, **variables},
        input=stdin,
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, f"git {arguments}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


class Repository:
    """A bare repository, such as a server has."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def branches(self) -> dict[str, str]:
        """The branches with their commits."""
        lines = git(self.path, "for-each-ref", "--format=%(refname) %(objectname)", "refs/heads")
        pairs = (line.split(" ") for line in lines.splitlines())
        return {name.removeprefix("refs/heads/"): commit for name, commit in pairs}

    @property
    def task_branches(self) -> list[str]:
        """The names of the branches that tasks pushed."""
        return sorted(name for name in self.branches if name.startswith("keruta-"))

    def file(self, ref: str, path: str) -> str:
        """Return what a file holds."""
        return git(self.path, "show", f"{ref}:{path}")

    def files(self, ref: str) -> list[str]:
        """Return the names of the files."""
        return git(self.path, "ls-tree", "-r", "-z", "--name-only", ref).strip("\0").split("\0")

    def message(self, ref: str) -> str:
        """Return the message of the newest commit."""
        return git(self.path, "log", "-1", "--format=%B", ref)

    def count(self, ref: str) -> int:
        """Return the number of commits."""
        return int(git(self.path, "rev-list", "--count", ref))

    def commit(self, branch: str, files: dict[str, str], message: str = "A change") -> str:
        """Add a commit to a branch, as another person's push would; a new one begins at main."""
        known = self.branches
        start = branch if branch in known else "main"
        stream = [
            f"commit refs/heads/{branch}",
            "mark :1",
            "committer 花子 <hanako@example.com> now",
            _data(message),
            *([f"from refs/heads/{start}^0"] if start in known else []),
        ]
        for name, text in files.items():
            stream += [f"M 100644 inline {name}", _data(text)]
        return git(
            self.path,
            *("fast-import", "--quiet", "--date-format=now"),
            stdin="\n".join([*stream, "get-mark :1", ""]),
        )


def _data(text: str) -> str:
    return f"data {len(text.encode())}\n{text}"


def make_repository(path: Path, files: dict[str, str] | None = None) -> Repository:
    """Make a bare repository with one commit on main."""
    for name, content in _made(tuple((files or {"README.md": "# A project\n"}).items())):
        place = path / name
        if content is None:
            place.mkdir()
        else:
            place.write_bytes(content)
    return Repository(path)


@cache
def _made(files: tuple[tuple[str, str], ...]) -> list[tuple[str, bytes | None]]:
    """Return what such a repository consists of: names with contents, None for a directory.

    What git takes several processes to make, a test needs to write only.
    """
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory) / "made.git"
        git(path.parent, "init", "--quiet", "--bare", "--initial-branch=main", str(path))
        Repository(path).commit("main", dict(files), "Begin the project")
        found = [path, *sorted(path.rglob("*"))]
        return [
            (str(each.relative_to(path)), each.read_bytes() if each.is_file() else None)
            for each in found
            if each.suffix != ".sample"
        ]
