"""What the user has set up for git, as it was when this process began.

A task runs as the same user: it can write ``~/.gitconfig``, and a filter or a credential helper in
it would then be run by the agent's own git. So the files are read once, before any task runs, and
git reads copies in memory from then on. What changes afterwards is ignored, and said in the log.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import os
import shutil
import subprocess
import threading
import time
import weakref
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from keruta_agent.core.process_tree.children import OWN
from keruta_agent.git.config import files as config_file
from keruta_agent.git.config import ssh as ssh_config
from keruta_agent.git.config.files import Entry, SealedFile, UnreadableError
from keruta_agent.git.config.ssh import SshConfig

logger = logging.getLogger(__name__)

#: Variables that decide which files git reads.
_DECIDING: Final = (
    *("HOME", "XDG_CONFIG_HOME", "PATH", "GIT_CONFIG_NOSYSTEM"),
    *("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM"),
)
#: As deep as files that name each other are followed; at more than ten git gives up altogether.
_DEEPEST: Final = 8
_MOST_FILES: Final = 200
_IDENTITY: Final = ("user.name", "user.email")
_NO: Final = frozenset({"", "0", "no", "off", "false"})


@dataclasses.dataclass(frozen=True, kw_only=True, eq=False)
class UserConfig:
    """The user's files of settings, and the git that reads them."""

    #: Where git was found first.
    program: str
    #: What leads git to the copies.
    variables: Mapping[str, str]
    #: Who the user is, by the names of git's settings.
    identity: Mapping[str, str]
    #: What each file held; None for one that was not there.
    contents: Mapping[Path, bytes | None]
    #: The files that git cannot read, and why: they are left out.
    problems: tuple[str, ...]
    #: When they were read, in nanoseconds since the epoch.
    read_at_ns: int
    #: How the user has set up ssh.
    ssh: SshConfig = dataclasses.field(repr=False)
    #: Keeps the copies in memory.
    copies: tuple[SealedFile, ...] = dataclasses.field(repr=False)

    def changed(self) -> list[Path]:
        """Return the files that hold something else by now."""
        return sorted(path for path, held in self.contents.items() if content_of(path) != held)

    def is_older(self, path: Path) -> bool:
        """Return whether a file is as it was when the settings were read.

        The kernel sets this time itself: nobody can turn it back without the system's clock.
        """
        return path.stat().st_ctime_ns <= self.read_at_ns


def current() -> UserConfig:
    """Return the user's settings, read by the first call in this process."""
    names = tuple((name, os.environ.get(name)) for name in _DECIDING)
    with _reading:
        return _read(names, os.getpid())


def tell_changes() -> list[str]:
    """Say in the log which files were changed since, once for each change; return their names."""
    config = current()
    changed = tuple((path, content_of(path)) for path in config.changed())
    with _reading:
        is_news = bool(changed) and _reported.get(config) != changed
        _reported[config] = changed
    if not is_news:
        return []
    names = [str(path) for path, _ in changed]
    logger.warning(
        "ignores what was changed in git's settings since the start: %s; "
        "restart the agent if you changed them",
        ", ".join(names),
        extra={"action": "git_settings_changed"},
    )
    return names


_reading: Final = threading.RLock()
_reported: Final[weakref.WeakKeyDictionary[UserConfig, tuple[tuple[Path, bytes | None], ...]]] = (
    weakref.WeakKeyDictionary()
)


@functools.lru_cache(maxsize=8)
def _read(names: tuple[tuple[str, str | None], ...], _process: int) -> UserConfig:
    environment = {name: value for name, value in names if value is not None}
    program = shutil.which("git", path=environment.get("PATH")) or "git"
    reader = _Reader(program, environment)
    # The time first: a change while they are read makes a file newer than that.
    read_at_ns = time.time_ns()
    system = reader.combined(_system_files(program, environment))
    user = reader.combined(_user_files(environment))
    ssh = ssh_config.of_user()
    for problem in reader.problems:
        logger.warning(
            "leaves out of git's settings what git cannot read: %s",
            problem,
            extra={"action": "git_settings_unreadable"},
        )
    return UserConfig(
        program=program,
        variables={
            "GIT_CONFIG_SYSTEM": system.path,
            "GIT_CONFIG_GLOBAL": user.path,
            "GIT_CONFIG_NOSYSTEM": "0",
        },
        identity=reader.identity,
        contents={**reader.contents, **ssh.contents},
        problems=tuple(reader.problems),
        read_at_ns=read_at_ns,
        ssh=ssh,
        copies=tuple(reader.copies),
    )


def _system_files(program: str, environment: Mapping[str, str]) -> list[Path]:
    if environment.get("GIT_CONFIG_NOSYSTEM", "").lower() not in _NO:
        return []
    if "GIT_CONFIG_SYSTEM" in environment:
        return _named(environment["GIT_CONFIG_SYSTEM"])
    # Where it is was decided when git was built.
    try:
        done = OWN.run(
            [program, "config", "--system", "--show-origin", "--list", "-z"],
            cwd="/",
            env={"PATH": os.defpath},
            timeout=config_file.READ_S,
        )
    except (OSError, subprocess.TimeoutExpired):  # the first command that needs it reports it
        return []
    origin = os.fsdecode(done.stdout.partition(b"\0")[0])
    if done.returncode != 0 or not origin.startswith("file:"):
        return []
    return [Path(origin.removeprefix("file:"))]


def _user_files(environment: Mapping[str, str]) -> list[Path]:
    if "GIT_CONFIG_GLOBAL" in environment:
        return _named(environment["GIT_CONFIG_GLOBAL"])
    home = environment.get("HOME", "")
    settings = environment.get("XDG_CONFIG_HOME") or (f"{home}/.config" if home else "")
    files = [f"{settings}/git/config"] if settings else []
    return [Path(name) for name in (*files, *([f"{home}/.gitconfig"] if home else []))]


def guarded_files() -> list[Path]:
    """Return the user's files that say how git behaves, whether they are there or not."""
    usual = {name: value for name, value in os.environ.items() if name != "GIT_CONFIG_GLOBAL"}
    files = _user_files(usual)
    attributes = [path.with_name("attributes") for path in files if path.name == "config"]
    return list(dict.fromkeys([*current().contents, *files, *attributes]))


def _named(name: str) -> list[Path]:
    return [Path(name).absolute()] if name else []


def content_of(path: Path) -> bytes | None:
    """Return what a file of settings holds, None when there is none."""
    try:
        with path.open("rb") as file:
            return file.read(config_file.LARGEST + 1) if path.is_file() else None
    except OSError:
        return None


class _Reader:
    """The reader of settings with all that they include, which makes the copies."""

    def __init__(self, program: str, environment: Mapping[str, str]) -> None:
        self._program = program
        self._home = environment.get("HOME", "")
        self.contents: dict[Path, bytes | None] = {}
        self.problems: list[str] = []
        self.copies: list[SealedFile] = []
        self.identity: dict[str, str] = {}
        self._reads = 0

    def combined(self, files: list[Path]) -> SealedFile:
        """Return one copy of several files, in their order."""
        entries = [entry for path in files for entry in self._entries(path, _DEEPEST)]
        return self._copy(entries)

    def _copy(self, entries: list[Entry]) -> SealedFile:
        copy = SealedFile("keruta-gitconfig", config_file.render(entries))
        self.copies.append(copy)
        return copy

    def _entries(self, path: Path, depth: int) -> list[Entry]:
        self._reads += 1
        if depth < 0 or self._reads > _MOST_FILES:
            self.problems.append(f"{path}: too many files include each other")
            return []
        if not path.is_relative_to("/proc"):  # a copy in another process of the agent never changes
            self.contents[path] = content_of(path)
        try:
            found = config_file.read(path, self._program)
        except FileNotFoundError:
            return []
        except UnreadableError as exc:
            self.problems.append(exc.message)
            return []
        for entry in found:
            if entry.key in _IDENTITY and entry.value:
                self.identity[entry.key] = entry.value
        return [
            self._included(entry, path, depth) if entry.is_include else entry for entry in found
        ]

    def _included(self, entry: Entry, path: Path, depth: int) -> Entry:
        """Return the setting that includes the copy of a file instead of the file."""
        # Git takes what it names relative to the file that it stands in.
        key = entry.key.replace("gitdir:./", f"gitdir:{path.parent}/", 1)
        key = key.replace("gitdir/i:./", f"gitdir/i:{path.parent}/", 1)
        target = included_path(entry, path, self._home)
        copy = self._copy(self._entries(target, depth - 1))
        return Entry(key=key, value=copy.path)


def included_path(entry: Entry, path: Path, home: str) -> Path:
    """Return the file that a setting of another file includes."""
    name = entry.value or ""
    if name.startswith("~/"):
        return Path(f"{home}{name[1:]}")
    if name.startswith("~"):
        try:
            return Path(name).expanduser()
        except RuntimeError:  # nobody has this name: git finds no file either
            return Path("/nonexistent")
    return Path(os.path.normpath(path.parent / name))
