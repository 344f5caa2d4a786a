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
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, Final

from keruta_agent.core import errors
from keruta_agent.core.coding.validation import ALLOWED
from keruta_agent.git.command import Git
from keruta_agent.runner.changes import protected as protection
from keruta_agent.runner.changes.protected import INVISIBLE, folded, folded_path

#: Bytes of one part of a path, and of all of it: half of what Linux takes, as the workspace's
#: own path comes before.
LONGEST_NAME: Final = 255
LONGEST_PATH: Final = 2048

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
    """The refusal of changes that would leave a workspace."""

    def __init__(
        self,
        workspace_root: Path,
        commands: Iterable[str] = (),
        *,
        protected: Iterable[str] = (),
        allowed: Iterable[str] = (),
        links: Mapping[str, str] | None = None,
    ) -> None:
        """Take the workspace, the commands that the task names, and more paths not to write.

        ``allowed`` are protected files that the task names as ones to write, ``links`` the
        repository's symbolic links.
        """
        self.root = Path(workspace_root).resolve()
        self._given = Path(workspace_root).absolute()
        self._commands = frozenset(commands)
        self._protected = frozenset(folded_path(path) for path in protected if path)
        self._allowed = frozenset(allowed)
        self._links = dict(links or {})

    @classmethod
    def of_repository(
        cls,
        root: Path,
        commands: Iterable[str] = (),
        *,
        protected: Iterable[str] = (),
        allowed: Iterable[str] = (),
    ) -> PermissionValidator:
        """Return one that also knows the repository's settings and symbolic links."""
        git = Git(root.resolve(), timeout_s=10)
        return cls(
            root,
            commands,
            protected=[*protected, *protection.configured(git)],
            allowed=allowed,
            links=protection.links_of(git),
        )

    def validate_path_access(self, path: str | Path, operation: str = "read") -> None:
        """Check that a path may be read or written; it may be absolute.

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
        """Return the place of a file that a model names; absolute paths are refused.

        Raises:
            SecurityError: see there.
        """
        text = str(path)
        parts = self._named(text)
        if operation in _WRITING:
            self._check_meaning(text)
        self._check_disk(text, parts, is_written=operation in _WRITING)
        return PurePosixPath(*parts)

    def validate_git_operation(self, operation: str, **options: Any) -> None:
        """Check what git is asked for; pushes go to ``feature/`` and ``task/`` branches only.

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
        """Check that a command is one of the task's.

        Raises:
            SecurityError: it is not.
        """
        if command not in self._commands:
            raise errors.SecurityError(
                f"The command {command[:80]!r} is not allowed: it is none of the task's own, and "
                "a dangerous pattern looks like a harmless one"
            )

    def _named(self, text: str) -> list[str]:
        """Return the parts of a path whose names are plain."""
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
            if folded(part) in _GIT_NAMES:
                raise errors.SecurityError(f"{shown} lies in a .git directory")
        return parts

    def _check_meaning(self, text: str) -> None:
        """Refuse what another program would act upon, unless the task names the file."""
        if text in self._allowed:
            return
        for path in protection.aliases(text, self._links):
            reason = protection.reason(path)
            if reason is None and self._is_protected(path):
                reason = "it is protected"
            if reason is not None:
                is_itself = path == folded_path(text)
                shown = repr(text) if is_itself else f"{text!r}, to which {path!r} leads,"
                raise errors.SecurityError(
                    f"{shown} is not allowed: {reason}",
                    advice=f"A task may name it in metadata.{ALLOWED}",
                )

    def _is_protected(self, name: str) -> bool:
        return any(name == known or name.startswith(f"{known}/") for known in self._protected)

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
        if any(folded(part) in _GIT_NAMES for part in target.relative_to(self.root).parts):
            raise errors.SecurityError(f"{text!r} leads into a .git directory")
        if is_written:
            raise errors.SecurityError(
                f"{text!r} is not allowed: it goes through a symbolic link; name the real file"
            )


def _oddity(part: str) -> str | None:
    """Return why a part of a path is none that an honest answer would name."""
    if part in ("", "."):
        return "a part of it is empty"
    if any(unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") for character in part):
        return "it holds a control character"
    if INVISIBLE.search(part):
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
