"""Where a run may write, what it may ask of git, and which commands it may start.

A model's answer is text from outside: nothing in it is trusted. Paths are judged by their names
(what git, a checkout on another system, or a command line would make of them) and by what is on
disk. Commands are those that the task names and no others: a list of dangerous ones would always
lack one.
"""

from __future__ import annotations

import os
import re
import stat
import unicodedata
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Any, Final

from keruta_agent import errors
from keruta_agent.workspace.git import Git

#: Bytes of one part of a path, and of all of it: half of what Linux takes, as the workspace's
#: own path comes before.
LONGEST_NAME: Final = 255
LONGEST_PATH: Final = 2048

#: What git reads itself: whoever writes them decides what the next git command does.
_GIT_FILES: Final = frozenset({".gitmodules", ".gitattributes", ".gitconfig"})
#: Directories of hooks that tools make git use.
_HOOK_DIRECTORIES: Final = frozenset({".husky", ".githooks"})
#: What a CI server runs with its own secrets as soon as a branch is pushed.
_PIPELINES: Final = frozenset(
    {
        *(".github/workflows", ".github/actions", ".gitlab-ci.yml", ".gitea/workflows"),
        *(".forgejo/workflows", ".circleci", ".buildkite", ".woodpecker", ".woodpecker.yml"),
        *(".travis.yml", ".drone.yml", "jenkinsfile", "azure-pipelines.yml"),
        *("bitbucket-pipelines.yml", ".ci"),
    }
)
#: Invisible in a name; macOS leaves the last group out when it compares (``.g<joiner>it``).
_INVISIBLE: Final = re.compile(r"[\u200b-\u200f\u202a-\u202e\u2060-\u2069\u206a-\u206f\ufeff]")
_GIT_NAMES: Final = frozenset({".git", "git~1"})
_WRITING: Final = frozenset({"write", "create", "modify", "edit", "delete", "execute"})

_GIT_OPERATIONS: Final = frozenset(
    {
        *("checkout", "fetch", "pull", "rebase", "branch", "commit", "push", "diff", "status"),
        *("add", "clean", "reset"),
    }
)
_BRANCH: Final = re.compile(r"(?:feature|task)/[^\s:+~^?*\[\\\x00-\x1f\x7f-]" + r"[^\s:+~^?*\[\\]*")


class PermissionValidator:
    """Says no to what would leave a workspace."""

    def __init__(
        self,
        workspace_root: Path,
        commands: Iterable[str] = (),
        *,
        protected: Iterable[str] = (),
    ) -> None:
        """Takes the workspace, the commands that the task names, and more paths not to write."""
        self.root = Path(workspace_root).resolve()
        self._given = Path(workspace_root).absolute()
        self._commands = frozenset(commands)
        self._protected = frozenset(path.strip("/").casefold() for path in protected if path)

    @classmethod
    def of_repository(cls, root: Path, commands: Iterable[str] = ()) -> PermissionValidator:
        """Returns one that also knows where the repository's own hooks are."""
        named = Git(root, timeout_s=10).find("config", "--get-all", "core.hooksPath") or ""
        inside = [_inside(root.resolve(), hooks) for hooks in named.splitlines()]
        return cls(root, commands, protected=[place for place in inside if place])

    def validate_path_access(self, path: str | Path, operation: str = "read") -> None:
        """Checks that a path may be read or written; it may be absolute.

        Raises:
            SecurityError: it leads out of the workspace, to git's own files, to what a CI server
                runs, or to something that is no file.
        """
        inside = Path(path)
        for root in (self.root, self._given):
            if inside.is_absolute() and inside.is_relative_to(root):
                inside = inside.relative_to(root)
        if inside != Path() or operation in _WRITING:
            self.location(inside if Path(path).is_absolute() else path, operation)

    def location(self, path: str | Path, operation: str = "read") -> PurePosixPath:
        """Returns the place of a file that a model names; absolute paths are refused.

        Raises:
            SecurityError: see there.
        """
        text = str(path)
        parts = self._named(text)
        if operation in _WRITING:
            self._check_meaning(text, parts)
        self._check_disk(text, parts, is_written=operation in _WRITING)
        return PurePosixPath(*parts)

    def validate_git_operation(self, operation: str, **options: Any) -> None:
        """Checks what git is asked for; pushes go to ``feature/`` and ``task/`` branches only.

        Raises:
            SecurityError: it is none of a run's operations, it forces, or deletes a branch.
        """
        if operation not in _GIT_OPERATIONS:
            raise errors.SecurityError(f"The git operation {operation!r} is not allowed")
        if options.get("force") or options.get("force_with_lease"):
            raise errors.SecurityError("Force push is not allowed")
        if options.get("delete"):
            raise errors.SecurityError("Deleting a branch is not allowed")
        branch = options.get("branch", options.get("branch_name"))
        if operation == "push" and not (isinstance(branch, str) and _BRANCH.fullmatch(branch)):
            raise errors.SecurityError(
                f"Pushing to {branch!r} is not allowed: only to feature/task branches",
                advice="Name the task's branch feature/... or task/...",
            )

    def validate_command_execution(self, command: str) -> None:
        """Checks that a command is one of the task's.

        Raises:
            SecurityError: it is not.
        """
        if command not in self._commands:
            raise errors.SecurityError(
                f"The command {command[:80]!r} is not allowed: it is none of the task's own, and "
                "a dangerous pattern cannot be told from a harmless one"
            )

    def _named(self, text: str) -> list[str]:
        """Returns the parts of a path whose names are plain."""
        shown = repr(text[:120])
        if text.startswith(("/", "~")):
            raise errors.SecurityError(f"{shown} is outside workspace: it is not relative to it")
        if len(os.fsencode(text.encode("utf-8", "replace"))) > LONGEST_PATH:
            raise errors.SecurityError(f"{shown}… is not allowed: the path is too long")
        parts = text.split("/")
        for part in parts:
            if part == "..":
                raise errors.SecurityError(f"{shown} is outside workspace: it goes up")
            reason = _oddity(part)
            if reason is not None:
                raise errors.SecurityError(f"{shown} is not allowed: {reason}")
            if _git_name(part) in _GIT_NAMES:
                raise errors.SecurityError(f"{shown} lies in a .git directory")
        return parts

    def _check_meaning(self, text: str, parts: list[str]) -> None:
        """Refuses what git or a CI server would act upon."""
        names = [part.casefold() for part in parts]
        if any(name in _GIT_FILES or name in _HOOK_DIRECTORIES for name in names):
            raise errors.SecurityError(
                f"{text!r} is not allowed: git, or a hook of it, would act upon it"
            )
        for depth in range(1, len(names) + 1):
            beginning = "/".join(names[:depth])
            if beginning in _PIPELINES:
                raise errors.SecurityError(
                    f"{text!r} is not allowed: a CI server would run it with its secrets"
                )
            if beginning in self._protected:
                raise errors.SecurityError(f"{text!r} is not allowed: it is protected")

    def _check_disk(self, text: str, parts: list[str], *, is_written: bool) -> None:
        place = self.root
        for number, part in enumerate(parts, 1):
            place = place / part
            try:
                mode = place.lstat().st_mode
            except FileNotFoundError:
                return
            except (NotADirectoryError, OSError) as error:
                raise errors.SecurityError(f"{text!r} is not allowed: {error.strerror}") from None
            is_last = number == len(parts)
            if stat.S_ISLNK(mode):
                self._check_link(text, place, is_written=is_written)
                mode = place.stat().st_mode if place.exists() else mode
            if stat.S_ISDIR(mode):
                if is_written and is_last:
                    raise errors.SecurityError(f"{text!r} is not allowed: it is a directory")
                if (place / ".git").exists() or (place / ".git").is_symlink():
                    raise errors.SecurityError(
                        f"{text!r} is not allowed: it lies in a repository of its own, "
                        "with a .git directory there"
                    )
            elif not is_last:
                raise errors.SecurityError(f"{text!r} is not allowed: a part of it is a file")
            elif not stat.S_ISREG(mode):
                raise errors.SecurityError(f"{text!r} is not allowed: it is no regular file")

    def _check_link(self, text: str, place: Path, *, is_written: bool) -> None:
        try:
            target = place.resolve(strict=True)
        except (OSError, RuntimeError):
            raise errors.SecurityError(
                f"{text!r} is not allowed: it goes through a symbolic link to nothing"
            ) from None
        if not target.is_relative_to(self.root):
            raise errors.SecurityError(f"{text!r} is outside workspace: a symbolic link leads out")
        if any(_git_name(part) in _GIT_NAMES for part in target.relative_to(self.root).parts):
            raise errors.SecurityError(f"{text!r} leads into a .git directory")
        if is_written:
            raise errors.SecurityError(
                f"{text!r} is not allowed: it goes through a symbolic link; name the real file"
            )


def _oddity(part: str) -> str | None:
    """Returns why a part of a path is none that an honest answer would name."""
    if part in ("", "."):
        return "a part of it is empty"
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in part):
        return "it holds a control character"
    if _INVISIBLE.search(part):
        return "it holds an invisible character"
    if "\\" in part:
        return "it holds a backslash"
    if part != part.strip() or part.endswith("."):
        return "a part of it begins or ends with a space or ends with a dot"
    if part.startswith(("-", ":", "~")):
        return "a command line would take it for something else"
    if len(part.encode()) > LONGEST_NAME:
        return "the name is too long"
    return None


def _git_name(part: str) -> str:
    """Returns a name as the strangest file system would compare it."""
    plain = _INVISIBLE.sub("", unicodedata.normalize("NFKC", part)).casefold()
    return plain.partition(":")[0].rstrip(". ")


def _inside(root: Path, hooks: str | None) -> str | None:
    if not hooks:
        return None
    place = Path(os.path.normpath(root / hooks))
    return place.relative_to(root).as_posix() if place.is_relative_to(root) else None
