"""The way of a task to its branch, whatever a task, a crash or a full disk has left.

One way in, with three attempts: as it is; after a repair; in a new clone, with the broken one moved
aside. What lies at the server or at the network is no reason to touch a clone: before anything is
repaired, the server has to answer a git outside of it.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
from pathlib import Path
from typing import Final

from keruta_agent.agent.workspace import checkout, git_dir, moved, rescue
from keruta_agent.agent.workspace.checkout import CheckoutRequest, Place
from keruta_agent.agent.workspace.made import MadeClones
from keruta_agent.core import errors, file_trees
from keruta_agent.git import clone as clones
from keruta_agent.git.clone import CloneOptions
from keruta_agent.git.command import Git, Say
from keruta_agent.git.config.files import UnreadableError
from keruta_agent.git.config.repository import repositories
from keruta_agent.git.problems import OF_THE_SERVER, GitError, Problem
from keruta_agent.git.repository import directory as directories
from keruta_agent.git.repository import maintenance
from keruta_agent.git.repository.directory import Found
from keruta_agent.git.repository.notes import Notes
from keruta_agent.git.url import RepositoryUrl

#: What no repair changes.
_HOPELESS: Final = frozenset({Problem.STOPPED, Problem.DISK_FULL, Problem.MISSING_PROGRAM})
_OF_THE_MACHINE: Final = frozenset(
    {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EMFILE, errno.ENFILE, errno.ENOMEM}
)
#: Seconds before a whole clone is replaced that replaced another one and in which nothing succeeded
#: yet: a third one would hardly do better. A clone that was broken anew is replaced at once.
_AGAIN_S: Final = 3600.0


class RuinedError(errors.WorkspaceError):
    """A directory in which the agent made a clone, and which is none any more."""


#: Failures whose cause may be the clone.
_LOCAL: Final = (GitError, UnreadableError, RuinedError, OSError)


def bring(
    git: Git,
    url: RepositoryUrl,
    options: CloneOptions,
    made: MadeClones,
    request: CheckoutRequest,
    say: Say,
) -> Place:
    """Open, repair or make the clone in git's directory, and check the branch of a task out.

    Raises:
        WorkspaceError: it cannot be done; the advice says what helps.
    """
    directory = git.directory
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except FileExistsError:
        raise directories.refuse(directory) from None
    except OSError as exc:
        raise errors.WorkspaceError(f"cannot make {directory}: {exc.strerror}") from exc
    directories.open_gate(directory)
    attempts = _Attempts(git=git, url=url, options=options, made=made, request=request, say=say)
    try:
        return attempts.bring()
    except OSError as exc:
        raise errors.WorkspaceError(
            f"cannot prepare {directory}: {exc.strerror or exc}"
            + (f" ({exc.filename})" if exc.filename else "")
        ) from exc


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Attempts:
    """The attempts for one task."""

    git: Git
    url: RepositoryUrl
    options: CloneOptions
    made: MadeClones
    request: CheckoutRequest
    say: Say

    def bring(self) -> Place:
        with directories.locked(self._directory, self.git.timeout_s):
            try:
                return self._prepare()
            except _LOCAL as exc:
                failure: Exception = exc
            if not isinstance(failure, RuinedError):
                self._repair(failure)
                try:
                    self._check_objects()
                    return self._prepare()
                except _LOCAL as exc:
                    failure = exc
            aside = self._move_aside(failure)
        self.say(f"moved the broken clone to {aside.directory}, and clones anew: {aside.reason}")
        for line in moved.make_room(aside):
            self.say(line)
        self._directory.mkdir(parents=True, exist_ok=True)
        with directories.locked(self._directory, self.git.timeout_s):
            return self._prepare(is_replacement=True)

    @property
    def _directory(self) -> Path:
        return self.git.directory

    @property
    def _notes(self) -> Notes:
        return Notes(git_dir=self._directory / ".git")

    def _prepare(self, *, is_replacement: bool = False) -> Place:
        found = directories.look(self._directory)
        if found in (Found.OTHER, Found.FOREIGN) and self._has_made():
            raise RuinedError(f"{self._directory} is no clone any more: its .git was changed")
        if found is Found.OURS and not git_dir.is_sound(self._directory / ".git"):
            raise GitError(
                f"cannot use {self._directory}: files of its .git were replaced or emptied",
                Problem.OTHER,
            )
        try:
            return self._check_out(is_replacement=is_replacement)
        except _LOCAL as exc:
            if found in (Found.NOTHING, Found.HALF_CLONE) and _is_disk_full(exc):
                # The agent itself would wait for the room that this takes.
                with contextlib.suppress(OSError):
                    for path in sorted(self._directory.iterdir()):
                        file_trees.remove(path)
            raise

    def _check_out(self, *, is_replacement: bool) -> Place:
        clone = clones.open_or_make(self.git, self.url, self.options, self.say)
        if not clone.is_ours:
            return checkout.prepare(clone, self.request, self.say)
        if is_replacement:
            clone.notes.note_recovery()
        self.made.remember(self._directory, self.url.identity)
        rescued = self._rescue()
        place = checkout.prepare(clone, self.request, self.say)
        for aside, lost in rescued:
            self._note_compared(aside, (*lost, *self._rescue_submodules(aside)))
        clone.notes.forget_recovery()
        for line in moved.prune(self._directory):
            self.say(line)
        return place

    def _has_made(self) -> bool:
        return self.made.has_made(self._directory, self.url.identity)

    def _repair(self, failure: Exception) -> None:
        """Repair what can be repaired without another clone.

        Raises:
            Exception: the failure, where a repair makes no difference.
        """
        if directories.look(self._directory) is not Found.OURS or self._is_hopeless(failure):
            raise failure
        if maintenance.git_runs_in(self._directory) or not self._server_answers():
            raise failure
        self.say(f"repairs {self._directory}: {_words(failure)}")
        file_trees.open_up(self._directory)
        # What cannot be repaired shows at the second attempt.
        with contextlib.suppress(*_LOCAL):
            git_dir.restore(self.git, self.url)
            self._notes.forget_installed()

    def _check_objects(self) -> None:
        """Look whether the clone is of use, before a task finds out that it is not."""
        if not git_dir.is_whole(self.git):
            raise GitError(
                f"cannot use the clone in {self._directory}: objects are missing", Problem.OTHER
            )

    def _move_aside(self, failure: Exception) -> moved.Moved:
        """Move the clone out of the way of a new one.

        Raises:
            Exception: the failure, where another clone makes no difference, or it cannot be moved.
        """
        since_s = self._notes.recovered_s()
        if self._is_hopeless(failure) or self._is_of_the_server(failure):
            raise failure
        if since_s is not None and since_s < _AGAIN_S and not self._is_broken(failure):
            raise failure
        if not self._server_answers():
            raise failure
        return moved.move_aside(self._directory, _words(failure))

    def _is_broken(self, failure: Exception) -> bool:
        if isinstance(failure, RuinedError) or not git_dir.is_sound(self._directory / ".git"):
            return True
        return not git_dir.is_whole(self.git)

    def _is_hopeless(self, failure: Exception) -> bool:
        if isinstance(failure, GitError):
            return failure.problem in _HOPELESS
        return isinstance(failure, OSError) and failure.errno in _OF_THE_MACHINE

    def _is_of_the_server(self, failure: Exception) -> bool:
        if not isinstance(failure, GitError):
            return False
        if failure.problem is Problem.PART:  # a broken submodule was cloned anew before
            return True
        if failure.problem not in OF_THE_SERVER:
            return False
        # A transfer also breaks off when what is here does not fit together.
        return failure.problem is not Problem.BROKEN_OFF or git_dir.is_whole(self.git)

    def _server_answers(self) -> bool:
        """Ask the server from outside of the clone, whose configuration may lead astray."""
        with file_trees.temporary_directory("keruta-") as outside:
            return self.git.at(outside).holds("ls-remote", self.url.address, "HEAD")

    def _rescue(self) -> list[tuple[moved.Moved, tuple[str, ...]]]:
        """Take over the commits of clones that were moved aside; return what could not be."""
        found = []
        for aside in moved.all_beside(self._directory):
            if aside.is_compared or aside.origin != str(self._directory):
                continue
            rescued = rescue.rescue(self.git, aside.directory)
            if rescued.brought:
                self.say(f"took over from {aside.directory}: {_listed(rescued.brought)}")
            found.append((aside, rescued.lost))
        return found

    def _rescue_submodules(self, aside: moved.Moved) -> tuple[str, ...]:
        """Do the same with the repositories of submodules, once the new clone has them."""
        lost: list[str] = []
        old, new = aside.directory / ".git", self._directory / ".git"
        for module in repositories(old):
            name = module.relative_to(old)
            if module == old:
                continue
            if (new / name / "HEAD").is_file():
                git = self.git.at_bare(new / name)
                lost += [f"{name}: {ref}" for ref in rescue.rescue_from(git, module).lost]
            elif rescue.own_tips(module):
                lost.append(str(name))
        return tuple(lost)

    def _note_compared(self, aside: moved.Moved, lost: tuple[str, ...]) -> None:
        moved.note_compared(aside, lost)
        if lost:
            self.say(f"{aside.directory} is kept; only it has {_listed(lost)}")


def _words(failure: Exception) -> str:
    if isinstance(failure, errors.KerutaError):
        return failure.message
    return " ".join(str(failure).split())


def _is_disk_full(failure: Exception) -> bool:
    if isinstance(failure, GitError):
        return failure.problem is Problem.DISK_FULL
    return isinstance(failure, OSError) and failure.errno in (errno.ENOSPC, errno.EDQUOT)


_MOST_LISTED: Final = 10


def _listed(names: tuple[str, ...]) -> str:
    more = len(names) - _MOST_LISTED
    return ", ".join(names[:_MOST_LISTED]) + (f" and {more} more" if more > 0 else "")
