"""The repository of the soak's session: a bare one, such as a server has."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Final

from keruta_agent.core import errors
from keruta_agent.git.commit import TASK_TRAILER

NAME: Final = "project"
_NOBODYS: Final = {"GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"}
_BEGIN: Final = """\
commit refs/heads/main
committer soak <soak@example.invalid> 0 +0000
data 5
Begin
M 100644 inline README.md
data 10
A project

"""


class Repository:
    """A repository to clone from and push to."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / f"{NAME}.git"

    @property
    def url(self) -> str:
        """Its address."""
        return self.path.as_uri()

    def make(self) -> None:
        """Make it, with one commit on main.

        Raises:
            RunError: git does not.
        """
        self.path.mkdir()
        self._git("init", "--quiet", "--bare", "--initial-branch=main")
        self._git("fast-import", "--quiet", stdin=_BEGIN)

    def commits(self) -> dict[str, list[str]]:
        """Return the commits that were pushed for each task, by its id."""
        form = f"--format=%H %(trailers:key={TASK_TRAILER},valueonly,separator=)"
        found: dict[str, list[str]] = {}
        for line in self._git("log", "--branches", form).splitlines():
            commit, _, task_id = line.partition(" ")
            if task_id:
                found.setdefault(task_id, []).append(commit)
        return found

    def file(self, commit: str, name: str) -> str | None:
        """Return what a file holds in a commit, None when it is not there."""
        if not self._git("ls-tree", "--name-only", commit, name):
            return None
        return self._git("show", f"{commit}:{name}")

    def problems(self) -> str:
        """Return what git finds wrong with it."""
        done = self._run("fsck", "--connectivity-only", "--no-dangling")
        return "" if done.returncode == 0 else done.stdout + done.stderr

    def _git(self, *arguments: str, stdin: str = "") -> str:
        done = self._run(*arguments, stdin=stdin)
        if done.returncode != 0:
            raise errors.RunError(f"the soak's git {arguments[0]} failed: {done.stderr.strip()}")
        return done.stdout

    def _run(self, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        inherited = {name: value for name, value in os.environ.items() if name[:4] != "GIT_"}
        return subprocess.run(
            ["git", *arguments],
            cwd=self.path,
            env={**inherited, **_NOBODYS},
            input=stdin,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            check=False,
            timeout=120,
        )
