"""The clones that the pool lends: made, and made clean again.

Whoever had a slot ran tests in it, and may have left anything: a git configuration that has git
run a program, a pipe that a reader waits at for ever. So nothing but git's objects and refs
outlives a loan, all else is removed before git looks at it, and a clone about which there is any
doubt is thrown away.
"""

from __future__ import annotations

import logging
import os
import shutil
import stat
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Final

from keruta_agent.core import errors, file_trees
from keruta_agent.git import checkout, remote
from keruta_agent.git import clone as clones
from keruta_agent.git.access.credentials import GitAccess
from keruta_agent.git.checkout import CheckoutPolicy, Start
from keruta_agent.git.clone import Clone, CloneOptions
from keruta_agent.git.command import Git, say_nothing
from keruta_agent.git.config import repository as repository_config
from keruta_agent.git.config import user as user_config
from keruta_agent.git.url import REMOTE, RepositoryUrl

logger = logging.getLogger(__name__)

#: Seconds that one git command may take.
TIMEOUT_S: Final = 600.0
#: A slot is empty before; whoever gets it brings its submodules and large files.
_POLICY: Final = CheckoutPolicy(overwrites=True, parts=None)
#: What of ``.git`` outlives a loan. Not the index: it can hide changed files from a reset.
_KEPT: Final = frozenset({"objects", "refs", "packed-refs", "shallow"})


class Clones:
    """The directories of the slots."""

    def __init__(
        self, root: Path, access: GitAccess, stop_reason: Callable[[], str | None]
    ) -> None:
        self._slots = root / "slots"
        self._configs = root / "configs"
        self._trash = root / "trash"
        self._mirrors = root / "mirrors"
        for directory in (self._slots, self._configs, self._trash, self._mirrors):
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        user_config.current()  # now, before anybody has a slot and runs tests in it
        self._access = access
        self._stop_reason = stop_reason
        for left in self._trash.iterdir():
            _remove_or_warn(left)

    def path(self, slot_id: str) -> Path:
        """Return the directory of a slot."""
        return self._slots / slot_id

    def prepare(self, slot_id: str, url: RepositoryUrl) -> None:
        """Make a slot a clean clone on the newest commit of the default branch.

        Raises:
            WorkspaceError: git cannot make it so.
        """
        if self._is_sound(slot_id):
            try:
                self._renew(slot_id, url)
                return
            except errors.WorkspaceError as exc:
                logger.info(
                    "slot %s is cloned anew: %s",
                    slot_id,
                    exc.message,
                    extra={"action": "slot_discarded"},
                )
        self.discard(slot_id)
        options = CloneOptions(mirrors=self._mirrors)
        clone = clones.open_or_make(self._git(slot_id, url), url, options, say_nothing)
        config = self.path(slot_id) / ".git" / "config"
        # Put in place at once: half a configuration must not be taken for the whole.
        copy = self._configs / f"{slot_id}.new"
        shutil.copyfile(config, copy)
        copy.replace(self._configs / slot_id)
        _check_out(clone)

    def tidy(self, slot_id: str) -> bool:
        """Remove what a loan left, without asking the server; return whether the clone is usable.

        One that is not is removed.
        """
        if self._is_sound(slot_id):
            try:
                self._scrub(slot_id)
                self._drop_refs(self._git(slot_id, None))
                return True
            except (errors.WorkspaceError, OSError) as exc:
                logger.info(
                    "slot %s cannot be cleaned and is removed: %s",
                    slot_id,
                    exc,
                    extra={"action": "slot_discarded"},
                )
        self.discard(slot_id)
        return False

    def discard(self, slot_id: str) -> None:
        """Remove a slot's directory, even while processes still work in it."""
        (self._configs / slot_id).unlink(missing_ok=True)
        directory = self.path(slot_id)
        if not os.path.lexists(directory):
            return
        # Moved first: what is written into it from now on is in nobody's way.
        left = self._trash / f"{slot_id}-{uuid.uuid4()}"
        directory.rename(left)
        _remove_or_warn(left)

    def discard_unknown(self, known: frozenset[str]) -> None:
        """Remove directories of slots that nobody knows."""
        for directory in self._slots.iterdir():
            if directory.name not in known:
                self.discard(directory.name)

    def _git(self, slot_id: str, url: RepositoryUrl | None) -> Git:
        return Git(
            self.path(slot_id),
            timeout_s=TIMEOUT_S,
            url=url,
            credentials=None if url is None else self._access.credentials(url),
            stop_reason=self._stop_reason,
            variables={"GIT_ALLOW_PROTOCOL": "http:https:ssh:git:file"},
        )

    def _renew(self, slot_id: str, url: RepositoryUrl) -> None:
        try:
            self._scrub(slot_id)
        except OSError as exc:
            raise errors.WorkspaceError(f"cannot clean slot {slot_id}: {exc.strerror}") from exc
        git = self._git(slot_id, url)
        git.run("remote", "set-url", REMOTE, url.address, action="note the address")
        self._drop_refs(git)
        git.run(
            *("fetch", "--quiet", "--prune", "--prune-tags", "--tags", "--force", REMOTE),
            action=f"fetch {url}",
        )
        _check_out(Clone(git=git, url=url, is_ours=True))

    def _drop_refs(self, git: Git) -> None:
        """Remove branches, stashes and all that did not come from the server."""
        names = git.text("for-each-ref", "--format=%(refname)", action="list the refs")
        ours = [
            name
            for name in names.splitlines()
            if not name.startswith((f"refs/remotes/{REMOTE}/", "refs/tags/"))
        ]
        commands = "".join(f"delete {name}\n" for name in ours)
        git.run(
            *("update-ref", "--no-deref", "--stdin"),
            stdin=os.fsencode(commands),
            action="remove leftover branches",
        )

    def _is_sound(self, slot_id: str) -> bool:
        """Return whether what outlives a loan is what git makes: directories and plain files."""
        directory = self.path(slot_id)
        git_dir = directory / ".git"
        places = (directory, git_dir, git_dir / "objects", git_dir / "refs")
        if any(place.is_symlink() or not place.is_dir() for place in places):
            return False
        if not (self._configs / slot_id).is_file():
            return False
        try:
            return all(_is_plain(place) for place in git_dir.iterdir() if place.name in _KEPT)
        except OSError:
            return False

    def _scrub(self, slot_id: str) -> None:
        """Remove all that does not outlive a loan, and put back the pool's configuration."""
        directory = self.path(slot_id)
        git_dir = directory / ".git"
        for place in list(directory.iterdir()):
            if place != git_dir:
                file_trees.remove(place)
        for place in list(git_dir.iterdir()):
            if place.name not in _KEPT:
                file_trees.remove(place)
        # It may name other places where objects are.
        file_trees.remove(git_dir / "objects" / "info")
        for folder, _, names in file_trees.walk(git_dir / "refs"):
            for name in names:
                if name.endswith(".lock"):
                    (Path(folder) / name).unlink()
        shutil.copyfile(self._configs / slot_id, git_dir / "config")
        # Whoever had the slot may have reached the pool's copy as well.
        repository_config.settle(git_dir, is_ours=True)
        (git_dir / "HEAD").write_text("ref: refs/heads/main\n", encoding="ascii")


def _check_out(clone: Clone) -> None:
    """Put the files of the default branch's newest commit there, and nothing else."""
    branch = remote.ask(clone).default_branch or "main"
    tracking = f"refs/remotes/{REMOTE}/{branch}"
    commit = remote.commits_of(clone.git, tracking).get(tracking)
    checkout.check_out(clone, Start(branch=branch, commit=commit), _POLICY, say_nothing)


def _is_plain(path: Path) -> bool:
    """Return whether there are only directories and plain files, and no links."""
    waiting = [path]
    while waiting:
        place = waiting.pop()
        mode = place.lstat().st_mode
        if stat.S_ISREG(mode):
            continue
        if not stat.S_ISDIR(mode):
            return False
        with os.scandir(place) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    waiting.append(Path(entry.path))
                elif not entry.is_file(follow_symlinks=False):
                    return False
    return True


def _remove_or_warn(path: Path) -> None:
    """Remove what nobody uses; what cannot be removed now is tried again at the next start."""
    try:
        file_trees.remove(path)
    except OSError as exc:
        logger.warning(
            "cannot remove %s: %s", path, exc.strerror, extra={"action": "slot_left_behind"}
        )
