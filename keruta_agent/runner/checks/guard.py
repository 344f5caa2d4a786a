"""The guard against changes to how git behaves in a workspace.

What the model may write is checked before it is written; but its tests are programs and may write
anything. A filter, a hook or another address in ``.git/config`` would let them act with the keys
of the push that follows.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from keruta_agent.core import errors, file_trees
from keruta_agent.git.command import Git
from keruta_agent.git.config.repository import repositories
from keruta_agent.git.config.user import content_of, guarded_files

_FILES: Final = (
    *("config", "config.worktree", "commondir"),
    *("info/attributes", "info/exclude", "info/sparse-checkout", "info/grafts"),
)
_MORE: Final = ("objects/info/alternates", "objects/info/http-alternates")
_DIRECTORIES: Final = ("hooks",)
#: A file of settings is small; what is larger was not made for that.
_LARGEST: Final = 1024 * 1024


@dataclasses.dataclass(frozen=True, kw_only=True)
class Guard:
    """What steers git in one workspace, as it was when the run began."""

    directories: tuple[Path, ...]
    contents: Mapping[Path, bytes]
    #: The user's own files that steer git everywhere.
    of_user: Mapping[Path, bytes | None]

    @classmethod
    def of(cls, git: Git) -> Guard:
        """Note how things are."""
        found = git.text(
            *("rev-parse", "--path-format=absolute", "--git-dir", "--git-common-dir"),
            action="find the repository",
        ).splitlines()
        places = [Path(line) for line in found]
        directories = tuple(dict.fromkeys(one for place in places for one in repositories(place)))
        return cls(
            directories=directories,
            contents=dict(_contents(directories)),
            of_user={path: content_of(path) for path in guarded_files()},
        )

    def check(self) -> None:
        """Put back what was changed, and refuse to go on.

        Raises:
            SecurityError: something was changed.
        """
        gone = [str(directory) for directory in self.directories if _is_gone(directory)]
        if gone:
            raise errors.SecurityError(
                f"The commands of the run removed the repository, which is not allowed: {gone[0]}"
            )
        self._check_user()
        now = dict(_contents(self.directories))
        changed = sorted(
            path for path in {*now, *self.contents} if now.get(path) != self.contents.get(path)
        )
        if not changed:
            return
        for path in changed:
            try:
                self._restore(path)
            except OSError as exc:
                raise errors.SecurityError(
                    f"The commands of the run made {path} what it must not be: {exc.strerror}"
                ) from exc
        names = ", ".join(f".git/{self._shown(path)}" for path in changed[:5])
        raise errors.SecurityError(
            f"The commands of the run changed how git behaves here, which is not allowed: {names}"
        )

    def _check_user(self) -> None:
        """Refuse to go on when the user's own settings are others than before.

        They are left as they are: it may have been the user who changed them meanwhile.
        """
        changed = [str(path) for path, held in self.of_user.items() if content_of(path) != held]
        if changed:
            raise errors.SecurityError(
                "The commands of the run changed how git behaves for this user, which is not "
                f"allowed: {', '.join(changed[:5])}",
                advice="Look at what stands there now, and take out what you did not write",
            )

    def _restore(self, path: Path) -> None:
        with contextlib.suppress(FileNotFoundError):
            path.unlink()
        before = self.contents.get(path)
        if before is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(before)

    def _shown(self, path: Path) -> str:
        for directory in self.directories:
            if path.is_relative_to(directory):
                return path.relative_to(directory).as_posix()
        return path.name


def _is_gone(directory: Path) -> bool:
    return directory.is_symlink() or not directory.is_dir()


def _contents(directories: tuple[Path, ...]) -> Iterator[tuple[Path, bytes]]:
    for directory in directories:
        for name in (*_FILES, *_MORE):
            yield from _content(directory / name)
        for name in _DIRECTORIES:
            for folder, _, names in file_trees.walk(directory / name):
                for inner in names:
                    yield from _content(Path(folder) / inner)


def _content(path: Path) -> Iterator[tuple[Path, bytes]]:
    if path.is_symlink():
        yield path, b"-> " + os.fsencode(path.readlink())
    elif path.is_file():
        with path.open("rb") as file:
            yield path, file.read(_LARGEST)
