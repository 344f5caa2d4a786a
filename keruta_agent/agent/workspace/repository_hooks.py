"""The hooks of a repository, where its owner wants them run.

Git runs none of them: it would hand them what it inherited, the credentials of a push among it.
They are run around its commands instead, as what they are: programs that a task could write.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Final, Protocol

from keruta_agent.git.clone import Clone
from keruta_agent.git.command import Say
from keruta_agent.git.config import repository as repository_config

#: What Git LFS installs itself: the agent moves large files without it.
_OF_LFS: Final = (b"git lfs ", b"git-lfs ")
_LARGEST: Final = 64 * 1024


class RunHook(Protocol):
    """The runner of one hook, executed like a script."""

    def __call__(self, name: str, program: Path, *arguments: str, stdin: bytes = b"") -> None:
        """Run it to its end.

        Raises:
            WorkspaceError: it failed, or took too long.
        """


@dataclasses.dataclass(frozen=True, kw_only=True)
class RepositoryHooks:
    """The hooks of one repository."""

    clone: Clone
    #: None where the setting git.run_hooks is off.
    run_hook: RunHook | None
    say: Say

    def run(self, name: str, *arguments: str, stdin: Callable[[], bytes] = bytes) -> bool:
        """Run the hook of this name, if there is one that is wanted; return whether it ran.

        Raises:
            WorkspaceError: it failed: what git was to do must not be done.
        """
        program = self._find(name)
        if program is None:
            return False
        if self.run_hook is None:
            self.say(f"does not run the repository's {name} hook: git.run_hooks is off")
            return False
        self.run_hook(f"the repository's {name} hook", program, *arguments, stdin=stdin())
        # It could write what a task can.
        clone = self.clone
        repository_config.settle(clone.git_dir, is_ours=clone.is_ours, url=clone.url)
        clone.git.forget_settings()
        return True

    def _find(self, name: str) -> Path | None:
        program = self._directory / name
        if not program.is_file() or not os.access(program, os.X_OK):
            return None
        with program.open("rb") as file:
            text = file.read(_LARGEST)
        return None if any(sign in text for sign in _OF_LFS) else program

    @functools.cached_property
    def _directory(self) -> Path:
        """Where they are, as git had it before the first one ran."""
        git = self.clone.git
        # The last one is ours, which has git find none.
        if len(git.settings("core.hookspath")) == 1:
            return self.clone.git_dir / "hooks"
        named = git.text(
            *("config", "--type=path", "--get-all", "core.hooksPath"), action="look for hooks"
        )
        return self.clone.directory / named.splitlines()[-2]
