"""Clones of repositories: made where there is none, else opened with harmless settings.

It is made in its place, with a note in it from the first moment that says so: what an agent left
that was killed meanwhile is known for what it is, and is made anew.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Final

from keruta_agent.core import errors, file_trees
from keruta_agent.git.command import Git, Say
from keruta_agent.git.config import repository as repository_config
from keruta_agent.git.repository import directory as directories
from keruta_agent.git.repository import link, mirror
from keruta_agent.git.repository.directory import Found
from keruta_agent.git.repository.notes import Notes
from keruta_agent.git.url import REMOTE, RepositoryUrl, parse

#: For clones that the agent makes: what keeps the look at 50,000 files cheap.
_CONFIG: Final = (
    ("index.version", "4"),
    (f"remote.{REMOTE}.fetch", f"+refs/heads/*:refs/remotes/{REMOTE}/*"),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class CloneOptions:
    """How clones are made."""

    #: Whether files are fetched only when they are needed.
    is_partial: bool = False
    #: Directory of copies of repositories that clones are made from; None for none.
    mirrors: Path | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Clone:
    """A clone that is whole."""

    git: Git
    url: RepositoryUrl
    #: Whether the agent made it: only then may anything in it be thrown away.
    is_ours: bool

    @property
    def directory(self) -> Path:
        """The directory with the files."""
        return self.git.directory

    @property
    def git_dir(self) -> Path:
        """Where git keeps the repository; a submodule's is inside of its superproject's."""
        return link.follow(self.directory)

    @property
    def notes(self) -> Notes:
        """What the agent noted about it."""
        return Notes(git_dir=self.git_dir)


def open_or_make(git: Git, url: RepositoryUrl, options: CloneOptions, say: Say) -> Clone:
    """Return the clone in git's directory, made if there is none.

    Raises:
        WorkspaceError: there is something else, or it cannot be made.
    """
    found = directories.look(git.directory)
    if found is Found.OTHER:
        raise directories.refuse(git.directory)
    if found is Found.HALF_CLONE:
        say("removes a clone that was never finished")
        file_trees.remove(git.directory / ".git")
    if found in (Found.HALF_CLONE, Found.NOTHING):
        return _make(git, url, options, say)
    return open_existing(git, url)


def open_existing(git: Git, url: RepositoryUrl, *, is_mere_look: bool = False) -> Clone:
    """Return the clone in git's directory, without settings that a task may have put there.

    A mere look changes nothing.

    Raises:
        WorkspaceError: it is another repository's.
    """
    notes = Notes(git_dir=git.directory / ".git")
    if not is_mere_look:
        repository_config.settle(notes.git_dir, is_ours=notes.is_ours, url=url)
        git.forget_settings()
    elif notes.is_ours:
        git = git.with_settings(*repository_config.without_filters(git))
    address = git.setting(f"remote.{REMOTE}.url") or ""
    try:
        identity = notes.identity if notes.is_ours else parse(address).identity
    except errors.WorkspaceError:
        identity = ""
    if identity != url.identity and not address:
        raise errors.WorkspaceError(
            f"{git.directory} is no clone of the session's repository, {url}",
            advice="If a task broke it, the next one gets a new clone. If it is yours, set "
            "KERUTA_WORKING_DIR to another directory; this one is left as it is",
        )
    if identity != url.identity:
        raise errors.WorkspaceError(
            f"{git.directory} holds another repository than the session's, {url}",
            advice="Set KERUTA_WORKING_DIR to another directory; this one is left as it is",
        )
    if notes.is_ours and address != url.address:
        git.run(*("remote", "set-url", REMOTE, url.address), action="note the address")
    if git.settings_like(r"^remote\..*\.promisor$"):
        git = git.fetching_lazily()
    return Clone(git=git, url=url, is_ours=notes.is_ours)


def _make(git: Git, url: RepositoryUrl, options: CloneOptions, say: Say) -> Clone:
    directory = git.directory
    notes = Notes(git_dir=directory / ".git")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        notes.begin_clone(url.identity)
    except OSError as exc:
        raise errors.WorkspaceError(f"cannot make {directory}: {exc.strerror}") from exc
    say(f"clones {url} into {directory}")
    git.run("init", "--quiet", action=f"make a repository in {directory}")
    configure(git, url)
    partial = ["--filter=blob:none"] if options.is_partial else []
    git = git.fetching_lazily() if options.is_partial else git
    if options.mirrors is not None:
        mirror.fetch(git, url, options.mirrors, say)
    git.run(
        *("fetch", "--quiet", "--tags", *partial, REMOTE),
        action=f"clone {url}",
    )
    notes.finish_clone(url.identity)
    return Clone(git=git, url=url, is_ours=True)


def configure(git: Git, url: RepositoryUrl) -> None:
    """Write what a clone of the agent's has in its configuration.

    Raises:
        GitError: it cannot be written.
    """
    git.run("config", f"remote.{REMOTE}.url", url.address, action="note the address")
    for key, value in _CONFIG:
        git.run("config", key, value, action=f"set {key}")
