"""Makes the clone of a repository, or opens the one that is there.

It is made in its place, with a note in it from the first moment that says so: what an agent left
that was killed meanwhile is known for what it is, and is made anew.
"""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from keruta_agent import errors, file_trees
from keruta_agent.git import link as git_link
from keruta_agent.git import maintenance as repair
from keruta_agent.git.command import Git
from keruta_agent.git.config import repository as repository_config
from keruta_agent.git.notes import Notes
from keruta_agent.git.problems import NOT_LOCAL, GitError
from keruta_agent.git.url import RepositoryUrl, parse
from keruta_agent.workspace import location
from keruta_agent.workspace.location import Found
from keruta_agent.workspace.made import MadeClones

REMOTE: Final = "origin"
#: Seconds between looks whether another agent has let go of a directory.
LOCK_LOOK_S: Final = 0.1
#: Tells who follows the work what is done.
Say = Callable[[str], None]

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
    #: Remembers the clones that the agent made; None where all of a place is the agent's.
    made: MadeClones | None = None


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
        return git_link.follow(self.directory)

    @property
    def notes(self) -> Notes:
        """What the agent noted about it."""
        return Notes(git_dir=self.git_dir)


def open_or_make(git: Git, url: RepositoryUrl, options: CloneOptions, say: Say) -> Clone:
    """Returns the clone in git's directory, made if there is none.

    Raises:
        WorkspaceError: there is something else, or it cannot be made.
    """
    found = location.look(git.directory)
    if found is Found.OTHER:
        raise location.refuse(git.directory)
    if found is Found.HALF_CLONE:
        say("removes a clone that was never finished")
        file_trees.remove(git.directory / ".git")
    if found in (Found.HALF_CLONE, Found.NOTHING):
        return _make(git, url, options, say)
    return open_existing(git, url)


def open_existing(git: Git, url: RepositoryUrl, *, is_mere_look: bool = False) -> Clone:
    """Returns the clone in git's directory, without settings that a task may have put there.

    A mere look changes nothing.

    Raises:
        WorkspaceError: it is another repository's.
    """
    notes = Notes(git_dir=git.directory / ".git")
    if not is_mere_look:
        repository_config.settle(notes.git_dir, is_ours=notes.is_ours, url=url)
    elif notes.is_ours:
        git = git.with_settings(*repository_config.without_filters(git))
    remotes = _remotes(git)
    address = dict(remotes).get(f"remote.{REMOTE}.url", "")
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
    if any(key.endswith(".promisor") for key, _ in remotes):
        git = git.fetching_lazily()
    return Clone(git=git, url=url, is_ours=notes.is_ours)


def _remotes(git: Git) -> list[tuple[str, str]]:
    """Return what the settings say about servers; of a setting that is there twice, git takes the
    last one."""
    found = git.find("config", "-z", "--get-regexp", r"^remote\..*\.(url|promisor)$") or ""
    entries = [field.partition("\n") for field in found.split("\0") if field]
    return [(key, value) for key, _, value in entries]


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
        _fetch_from_mirror(git, url, options.mirrors, say)
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


def _fetch_from_mirror(git: Git, url: RepositoryUrl, mirrors: Path, say: Say) -> None:
    """Brings a mirror up to date and takes its objects: other clones fetched them already.

    They are copied. A clone that only refers to them would break with the mirror. A mirror that is
    broken is made anew: all that it holds is the server's.
    """
    mirror = mirrors / f"{url.name}-{url.digest}.git"
    file_trees.make_usable(mirror)
    if not file_trees.is_directory(mirror):
        file_trees.remove(mirror)
    mirror.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locked(mirror, git.timeout_s):
        try:
            _take_from_mirror(git, url, mirror, say)
        except (GitError, OSError) as exc:
            if isinstance(exc, GitError) and exc.problem in NOT_LOCAL:
                raise
            say(f"makes the mirror {mirror} anew: {exc}")
            file_trees.remove(mirror / NOTE_OF_MIRROR)
            _take_from_mirror(git, url, mirror, say)


def _take_from_mirror(git: Git, url: RepositoryUrl, mirror: Path, say: Say) -> None:
    repair.remove_locks(mirror)
    at_mirror = git.at_bare(mirror)
    if not (mirror / NOTE_OF_MIRROR).exists():
        for left in mirror.iterdir():
            file_trees.remove(left)
        at_mirror.run("init", "--quiet", "--bare", action=f"make the mirror {mirror}")
        at_mirror.run("remote", "add", REMOTE, url.address, action="note the address")
    say(f"brings the mirror {mirror} up to date")
    at_mirror.run(
        *("fetch", "--quiet", "--prune", REMOTE, "+refs/heads/*:refs/heads/*"),
        "+refs/tags/*:refs/tags/*",
        action=f"fetch {url} into the mirror {mirror}",
    )
    (mirror / NOTE_OF_MIRROR).touch()
    git.run(
        *("fetch", "--quiet", "--no-tags", str(mirror)),
        f"+refs/heads/*:refs/remotes/{REMOTE}/*",
        action=f"take what the mirror {mirror} holds",
    )


#: In a mirror that was fetched to its end once.
NOTE_OF_MIRROR: Final = "keruta-mirror"


@contextlib.contextmanager
def locked(path: Path, patience_s: float) -> Iterator[None]:
    """Keeps other agents out of a directory while the block runs.

    The kernel lets go of the lock when we are killed.

    Raises:
        WorkspaceError: another one did not let go of it in time, or there is no such directory.
    """
    deadline = time.monotonic() + patience_s
    while (descriptor := _lock(path)) is None:
        if time.monotonic() > deadline:
            raise errors.WorkspaceError(
                f"another agent works in {path}",
                advice="Give each agent a KERUTA_BASE_DIR or KERUTA_WORKING_DIR of its own",
            )
        time.sleep(LOCK_LOOK_S)
    try:
        yield
    finally:
        os.close(descriptor)


def _lock(path: Path) -> int | None:
    """Return a descriptor that locks a directory, None while another one has it."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as exc:
        raise errors.WorkspaceError(f"cannot use {path}: {exc.strerror}") from exc
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever had it may have moved it aside, and made another one.
        if os.path.samestat(os.fstat(descriptor), path.stat()):
            return descriptor
    except (BlockingIOError, FileNotFoundError):
        pass
    os.close(descriptor)
    return None
