"""Which of a repository's own settings may act on keruta's git.

``.git/config`` is a file that every task can write: a filter, an address that replaces another
one, a proxy or an included file in it would act with the credentials of the next push. Before the
agent opens a repository, all settings are taken out that are not known to be harmless. Those of a
clone that a person made stay, as far as they were there when this process began.
"""

from __future__ import annotations

import dataclasses
import logging
import os
import re
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from keruta_agent.core import atomic_file, errors
from keruta_agent.git.command import Git
from keruta_agent.git.config import files as config_file
from keruta_agent.git.config import user as user_config
from keruta_agent.git.config.files import Entry
from keruta_agent.git.config.user import UserConfig
from keruta_agent.git.repository import link
from keruta_agent.git.url import RepositoryUrl, parse

logger = logging.getLogger(__name__)

#: What a person's file was before something was taken out of it, beside it.
BEFORE: Final = "config.before-keruta"
_FILES: Final = ("config", "config.worktree")
_ORIGIN: Final = "remote.origin.url"
#: Settings that start no program, lead to no other place, and stop no command.
_HARMLESS: Final = re.compile(
    r"core\.(repositoryformatversion|filemode|bare|logallrefupdates|symlinks|ignorecase"
    r"|precomposeunicode|autocrlf|eol|safecrlf|sparsecheckout|sparsecheckoutcone|abbrev|whitespace"
    r"|compression|longpaths|preloadindex|trustctime|checkstat|quotepath|hidedotfiles"
    # Git runs no hook whatever this says; the agent does where they are wanted.
    r"|hookspath|protecthfs|protectntfs|commitgraph|multipackindex|untrackedcache)"
    r"|extensions\.(objectformat|partialclone|noop|noop-v1|preciousobjects|worktreeconfig"
    r"|compatobjectformat|refstorage)"
    r"|(user|author|committer)\.(name|email)"
    r"|remote\..*\.(url|fetch|tagopt|prune|promisor|partialclonefilter|skipfetchall"
    r"|skipdefaultupdate)"
    r"|remote\.(pushdefault|.*\.gh-resolved)"
    # All but mergeOptions, which may name a program; editors and their like note things here.
    r"|branch\.(autosetupmerge|autosetuprebase|sort|.*\.(?!mergeoptions)[^.]*)"
    r"|push\.(default|autosetupremote)|fetch\.(prune|prunetags|parallel)"
    r"|merge\.(conflictstyle|ff|stat|renames)|rebase\.(autostash|autosquash)"
    r"|diff\.(algorithm|renames|colormoved|tool)|commit\.(verbose|template)|gitflow\..*"
    r"|submodule\.active|submodule\..*\.(url|active|branch|ignore|shallow|fetchrecursesubmodules)"
    r"|(index|pack|pull|advice|color|column|maintenance|status|rerere)\.[^.]*"
    # The hook decides in later versions of git what a clean-up keeps.
    r"|gc\.(?!recentobjectshook)[^.]*|init\.defaultbranch"
    r"|lfs\.(repositoryformatversion|fetchinclude|fetchexclude|locksverify)"
    r"|lfs\..*\.(access|locksverify)",
    re.DOTALL,
)
#: The only programs that a repository may name: those that Git LFS sets itself up with.
_LFS: Final = frozenset(
    {
        ("filter.lfs.clean", "git-lfs clean -- %f"),
        ("filter.lfs.smudge", "git-lfs smudge -- %f"),
        ("filter.lfs.smudge", "git-lfs smudge --skip -- %f"),
        ("filter.lfs.process", "git-lfs filter-process"),
        ("filter.lfs.process", "git-lfs filter-process --skip"),
        ("filter.lfs.required", "true"),
    }
)
_UPDATES: Final = frozenset({"checkout", "merge", "rebase", "none"})
#: Settings that are named in one line of the log.
_MOST_NAMED: Final = 10
#: As deep as submodules in submodules are followed.
_DEEPEST: Final = 10


@dataclasses.dataclass(frozen=True, kw_only=True)
class Removed:
    """A setting that was taken out of a repository's file."""

    file: Path
    key: str


def settle(git_dir: Path, *, is_ours: bool, url: RepositoryUrl | None = None) -> list[Removed]:
    """Take out of a repository, and of its submodules, the settings that must not act.

    With ``url`` the remote ``origin`` of the agent's clone is there afterwards, and nowhere else.

    Raises:
        UnreadableError: a file of settings is not in git's format; nothing was changed in it.
        WorkspaceError: it cannot be written.
    """
    user = user_config.current()
    removed: list[Removed] = []
    for directory in repositories(git_dir):
        # It would have git read the settings of another directory.
        common = directory / "commondir"
        if os.path.lexists(common):
            _unlink(common)
            removed.append(Removed(file=common, key="commondir"))
        for name in _FILES:
            wanted = url if directory == git_dir and name == "config" else None
            path = directory / name
            is_submodule = directory != git_dir
            if is_submodule and is_ours and not _is_readable(path, user):
                # Git makes do without it, and brings a submodule's remote back.
                path.replace(path.with_name(BEFORE))
            removed += _settle(path, user, is_ours=is_ours, url=wanted, top=git_dir.parent)
    for file in dict.fromkeys(one.file for one in removed):
        keys = [one.key for one in removed if one.file == file]
        more = f" and {len(keys) - _MOST_NAMED} more" if len(keys) > _MOST_NAMED else ""
        logger.warning(
            "took %s out of %s: a task may have set it; what git is to heed belongs to the "
            "user's own settings",
            ", ".join(keys[:_MOST_NAMED]) + more,
            file,
            extra={"action": "git_setting_removed"},
        )
    return removed


def _is_readable(path: Path, user: UserConfig) -> bool:
    try:
        config_file.read(path, user.program)
    except FileNotFoundError:
        pass
    except config_file.UnreadableError:
        return False
    return True


def _is_own_work_tree(entry: Entry, path: Path, top: Path) -> bool:
    """Return whether a setting of a submodule names its own place in the superproject."""
    if entry.key != "core.worktree" or not entry.value or path.parent == top / ".git":
        return False
    place = Path(os.path.normpath(path.parent / entry.value))
    return link.leads_back(place, path.parent, top)


def _settle(
    path: Path, user: UserConfig, *, is_ours: bool, url: RepositoryUrl | None, top: Path
) -> list[Removed]:
    try:
        entries = config_file.read(path, user.program)
        trusted = frozenset() if is_ours else _trust.of(path, entries, user)
    except FileNotFoundError:
        return []
    kept = [
        entry
        for entry in entries
        if entry in trusted or is_harmless(entry) or _is_own_work_tree(entry, path, top)
    ]
    if url is not None:
        kept = _with_origin(kept, trusted, url, is_ours=is_ours)
    if kept == entries:
        return []
    _replace(path, config_file.render(kept), keep=None if is_ours else path.with_name(BEFORE))
    return [
        Removed(file=path, key=key)
        for key in dict.fromkeys(entry.key for entry in entries if entry not in kept)
    ]


def _with_origin(
    entries: list[Entry], trusted: frozenset[Entry], url: RepositoryUrl, *, is_ours: bool
) -> list[Entry]:
    """Return the settings without other places that a push would go to as well."""
    if not is_ours:
        return [
            entry
            for entry in entries
            if entry.key != _ORIGIN or entry in trusted or _is_at(entry.value, url)
        ]
    wanted = [Entry(key=_ORIGIN, value=url.address)]
    if [entry for entry in entries if entry.key == _ORIGIN] == wanted:
        return entries
    return [entry for entry in entries if entry.key != _ORIGIN] + wanted


def _is_at(address: str | None, url: RepositoryUrl) -> bool:
    try:
        return parse(address or "").identity == url.identity
    except errors.WorkspaceError:
        return False


def without_filters(git: Git) -> list[tuple[str, str]]:
    """Return the settings that keep a mere look from running a filter that a task has set up."""
    found = git.find("config", "--local", "--includes", "-z", "--get-regexp", r"^filter\.") or ""
    entries = [field.partition("\n") for field in found.split("\0") if field]
    return [
        (key, "false" if key.endswith(".required") else "")
        for key, _, value in entries
        if (key, value) not in _LFS
    ]


def is_harmless(entry: Entry) -> bool:
    """Return whether a setting is harmless, whoever wrote it."""
    if (entry.key, entry.value) in _LFS:
        return True
    if entry.key.startswith("submodule.") and entry.key.endswith(".update"):
        return entry.value in _UPDATES
    return _HARMLESS.fullmatch(entry.key) is not None


class _Trust:
    """What stood in the files of people's repositories when this process began."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[Path, frozenset[Entry]] = {}

    def of(self, path: Path, entries: Iterable[Entry], user: UserConfig) -> frozenset[Entry]:
        """Return the settings of a file that existed before."""
        with self._lock:
            if path not in self._known:
                is_old = user.is_older(path)
                self._known[path] = frozenset(entries if is_old else ())
            known = self._known[path]
        return frozenset(
            entry for entry in known if not entry.is_include or _is_old(entry, path, user)
        )


_trust: Final = _Trust()


def _is_old(include: Entry, path: Path, user: UserConfig, depth: int = _DEEPEST) -> bool:
    """Return whether an included file, and those that it includes, are as they were."""
    target = user_config.included_path(include, path, os.environ.get("HOME", ""))
    try:
        return (
            depth > 0
            and user.is_older(target)
            and all(
                _is_old(entry, target, user, depth - 1)
                for entry in config_file.read(target, user.program)
                if entry.is_include
            )
        )
    except FileNotFoundError:
        return True  # git finds nothing there either
    except (OSError, config_file.UnreadableError):
        return False


def repositories(git_dir: Path, depth: int = _DEEPEST) -> Iterator[Path]:
    """Yield a repository's directory and those of its submodules."""
    yield git_dir
    if depth > 0:
        for directory in _modules(git_dir / "modules", depth):
            yield from repositories(directory, depth - 1)


def submodules_of(git_dir: Path) -> list[Path]:
    """Return the repositories of a repository's own submodules, in use or not."""
    return list(_modules(git_dir / "modules", _DEEPEST))


def _modules(directory: Path, depth: int) -> Iterator[Path]:
    """Yield the repositories below a directory; the name of a submodule may hold slashes."""
    if depth <= 0 or not directory.is_dir():
        return
    for entry in sorted(directory.iterdir()):
        if (entry / "config").exists() or (entry / "HEAD").exists():
            yield entry
        elif entry.is_dir() and not entry.is_symlink():
            yield from _modules(entry, depth - 1)


def _replace(path: Path, content: bytes, *, keep: Path | None) -> None:
    try:
        if keep is not None:
            atomic_file.write(keep, path.read_bytes())
        atomic_file.write(path, content)
    except OSError as exc:
        raise errors.WorkspaceError(f"cannot write {path}: {exc.strerror}") from exc


def _unlink(path: Path) -> None:
    try:
        path.unlink()
    except OSError as exc:
        raise errors.WorkspaceError(f"cannot remove {path}: {exc.strerror}") from exc
