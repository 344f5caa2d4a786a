"""One git command: with a time limit, without questions, and with no process left behind.

With ``subprocess`` and not ``sh``: a task makes some twenty of these calls, ``sh`` takes five
milliseconds for each, and runs Python between fork and exec in a process that has threads.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final

from keruta_agent.core import errors
from keruta_agent.core.process_tree import waiting as command
from keruta_agent.core.process_tree.children import OWN
from keruta_agent.core.redaction.redactor import Redactor
from keruta_agent.core.units import format_duration
from keruta_agent.git.access import certificates as trust
from keruta_agent.git.access.credentials import Credentials
from keruta_agent.git.config import ssh as ssh_config
from keruta_agent.git.config import user as user_config
from keruta_agent.git.config.environment import base_environment, local_environment, with_settings
from keruta_agent.git.problems import GitError, Problem, error_from
from keruta_agent.git.url import RepositoryUrl

#: Reports progress to whoever follows the work.
Say = Callable[[str], None]

#: Bytes of what a command wrote that are kept in memory.
MOST_OUTPUT: Final = 64 * 1024 * 1024
MOST_COMPLAINTS: Final = 256 * 1024

#: Commands that speak to a server: only they are given the credentials.
NETWORK: Final = frozenset({"clone", "fetch", "lfs", "ls-remote", "push", "submodule"})
#: Commands that may change the settings of a repository.
_CONFIGURING: Final = frozenset({"config", "init", "lfs", "remote", "submodule"})
#: Commands that would show a file by a program that an attribute names.
_SHOWING: Final = frozenset({"diff", "log", "show"})
#: Variables that say of one repository where its parts are.
_OF_ONE_PLACE: Final = frozenset({"GIT_DIR", "GIT_INDEX_FILE", "GIT_WORK_TREE"})
_SSH: Final = "ssh -oBatchMode=yes -oConnectTimeout=30 -oServerAliveInterval=15"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Result:
    """What a command came to."""

    code: int
    output: bytes
    complaints: str

    @property
    def text(self) -> str:
        """The output as text, without the line end."""
        return self.output.decode("utf-8", errors="surrogateescape").rstrip("\n")


def say_nothing(_message: str) -> None:
    """Report progress to nobody."""


class Git:
    """Git in one directory. Commands are for one thread at a time.

    It runs no program that a task can have put there: git's settings are those that the user had
    when this process began (``user_config``) and ours (``git_environment``); what a repository's
    own files may say is decided before it is opened (``repository_config``).
    """

    def __init__(
        self,
        directory: Path,
        *,
        timeout_s: float,
        url: RepositoryUrl | None = None,
        credentials: Credentials | None = None,
        stop_reason: Callable[[], str | None] = command.no_stop,
        redactor: Redactor | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """Take the time limit, the source of stops, and the variables of every command.

        The agent's own environment, which the user's credential helpers may need, is seen by
        commands that speak to the server of ``url``, and by no others.
        """
        self.directory = directory
        self.timeout_s = timeout_s
        self._credentials = credentials
        self._stop_reason = stop_reason
        known = () if credentials is None else credentials.secrets
        self._redactor = (redactor or Redactor()).with_secrets(known)
        self._user = user_config.current()
        self._environment = {**base_environment(os.environ), **self._user.variables}
        # A repository on this machine is a directory that a task may write to, hooks and all.
        self._has_server = url is not None and url.scheme != "file"
        self._variables = dict(variables or {})
        self._settings: tuple[tuple[str, str], ...] = ()
        # Shared by all copies. Each question of its own would start git once more.
        self._known_settings: dict[tuple[Path, str | None], Mapping[str, list[str]]] = {}
        self._fetches_lazily = False

    def at(self, directory: Path) -> Git:
        """Return the same git in another directory."""
        other = object.__new__(Git)
        other.__dict__.update(self.__dict__, directory=directory)
        if directory != self.directory:
            # With the list of files of another repository, all of this one's would be new to git.
            other._variables = {
                name: value for name, value in self._variables.items() if name not in _OF_ONE_PLACE
            }
        return other

    def at_bare(self, directory: Path) -> Git:
        """Return the same git in a bare repository; git takes none for one that is not named."""
        return self.at(directory).with_variables({"GIT_DIR": str(directory)})

    def with_variables(self, variables: Mapping[str, str]) -> Git:
        """Return the same git with more variables."""
        other = self.at(self.directory)
        other._variables = {**self._variables, **variables}
        return other

    def with_settings(self, *settings: tuple[str, str]) -> Git:
        """Return the same git with more settings, which overrule all others."""
        other = self.at(self.directory)
        other._settings = (*self._settings, *settings)
        return other

    def fetching_lazily(self) -> Git:
        """Return git for a partial clone: every command may have to ask the server for a file."""
        other = self.at(self.directory)
        other._fetches_lazily = True
        return other

    def variable(self, name: str) -> str | None:
        """Return what every command sees as a variable, None when there is none."""
        return self._variables.get(name, self._environment.get(name))

    def settings(self, key: str) -> list[str]:
        """Return the values of one setting; the last one counts.

        The key has section and name in lower case.
        """
        more = [value for name, value in self._settings if name.lower() == key.lower()]
        return [*self._all_settings().get(key, ()), *more]

    def setting(self, key: str) -> str | None:
        """Return the value of a setting that counts, None when there is none."""
        values = self.settings(key)
        return values[-1] if values else None

    def settings_like(self, pattern: str) -> dict[str, str]:
        """Return the settings whose keys match a pattern, each with the value that counts."""
        found = self._all_settings().items()
        return {key: values[-1] for key, values in found if re.search(pattern, key)}

    def forget_settings(self) -> None:
        """Read the settings again at the next use: another program may have changed them."""
        self._known_settings.clear()

    def _all_settings(self) -> Mapping[str, list[str]]:
        place = (self.directory, self._variables.get("GIT_DIR"))
        if place not in self._known_settings:
            asking = self.at(self.directory)
            asking._settings, asking._fetches_lazily, asking._known_settings = (), False, {}
            listed = asking.run("config", "--list", "-z", action="read the settings", ok=False)
            found: dict[str, list[str]] = {}
            for field in records(listed.output if listed.code == 0 else b""):
                key, newline, value = field.partition("\n")
                # A name that stands alone means true.
                found.setdefault(key, []).append(value if newline else "true")
            self._known_settings[place] = found
        return self._known_settings[place]

    @property
    def program(self) -> str:
        """The program that is run."""
        return self._user.program

    def redact(self, text: str) -> str:
        """Return a text without the secrets that git was given."""
        return self._redactor.redact(text)

    def run(
        self,
        *arguments: str,
        action: str,
        stdin: bytes = b"",
        ok: bool = True,
        most: int = MOST_OUTPUT,
    ) -> Result:
        """Run a command; with ``ok`` a failure is an error that says what could not be done.

        Of its output, this many bytes are read.

        Raises:
            GitError: it failed, took too long, or was stopped.
        """
        name = name_of(arguments)
        with contextlib.ExitStack() as stack:
            if name in _CONFIGURING:
                stack.callback(self.forget_settings)
            environment, descriptors = self._prepare(name, stack)
            output, complaints, given = (
                stack.enter_context(tempfile.TemporaryFile()) for _ in range(3)
            )
            given.write(stdin)
            given.seek(0)
            code = self._wait(
                action,
                self._start(arguments, environment, descriptors, (given, output, complaints)),
            )
            result = Result(
                code=code,
                output=_read(output, most),
                complaints=self.redact(_read(complaints, MOST_COMPLAINTS).decode(errors="replace")),
            )
        if ok and code != 0:
            said = f"{result.complaints}\n{self.redact(result.text[-4000:])}"
            raise error_from(action, said)
        return result

    def text(self, *arguments: str, action: str) -> str:
        """Run a command and return its output."""
        return self.run(*arguments, action=action).text

    def find(self, *arguments: str) -> str | None:
        """Run a command that may fail and return its output, None when it failed."""
        result = self.run(*arguments, action=f"run git {arguments[0]}", ok=False)
        return result.text if result.code == 0 else None

    def holds(self, *arguments: str) -> bool:
        """Return whether a command that is a question says yes."""
        return self.run(*arguments, action=f"run git {arguments[0]}", ok=False).code == 0

    def _prepare(
        self, name: str, stack: contextlib.ExitStack
    ) -> tuple[dict[str, str], tuple[int, ...]]:
        """Return the environment of a command, and the descriptors that it inherits."""
        environment, settings = self._environment, self._settings
        descriptors: tuple[int, ...] = ()
        speaks = name in NETWORK or self._fetches_lazily
        if not (speaks and self._has_server):
            environment = local_environment(environment)
        environment = {
            **environment,
            **self._variables,
            # No other repository is meant, should there be none here.
            "GIT_CEILING_DIRECTORIES": str(self.directory.parent),
        }
        if speaks:
            if self._credentials is not None:
                given, descriptor = stack.enter_context(self._credentials.handed_over())
                settings, descriptors = (*settings, *given), (descriptor,)
            environment |= self._ssh(environment)
            environment |= trust.variables(environment, self._has_authorities)
        else:
            # A large file that is not here needs the server: `git lfs pull` fetches it later.
            environment["GIT_LFS_SKIP_DOWNLOAD_ERRORS"] = "1"
        return with_settings(environment, settings), descriptors

    def _ssh(self, environment: Mapping[str, str]) -> dict[str, str]:
        """Return the variable that says how ssh starts: the user's, else without questions.

        Either way it reads the settings that the user had when this process began.
        """
        given = environment.get("GIT_SSH_COMMAND")
        if given is None and "GIT_SSH" in environment:
            return {}
        start = given or self.setting("core.sshcommand") or _SSH
        return {"GIT_SSH_COMMAND": ssh_config.with_file(start, self._user.ssh.path)}

    def _has_authorities(self) -> bool:
        """Return whether the user has said to git whom it is to trust."""
        return bool(self.settings_like(trust.OWN_SETTINGS))

    def _start(
        self,
        arguments: tuple[str, ...],
        environment: Mapping[str, str],
        descriptors: tuple[int, ...],
        streams: tuple[IO[Any], IO[Any], IO[Any]],
    ) -> subprocess.Popen[bytes]:
        given, output, complaints = streams
        try:
            return OWN.spawn(
                [self.program, *_without_programs(arguments)],
                cwd=self.directory,
                env=environment,
                stdin=given,
                stdout=output,
                stderr=complaints,
                pass_fds=descriptors,
                # Its own group, so that what it started can be ended with it; its own session,
                # so that nothing finds a terminal to ask at.
                start_new_session=True,
            )
        except FileNotFoundError:
            if not self.directory.is_dir():
                raise errors.WorkspaceError(f"the directory {self.directory} is gone") from None
            raise GitError(
                "git is not installed",
                Problem.MISSING_PROGRAM,
                advice="Install it, or set KERUTA_GIT_ENABLED=false",
            ) from None
        except OSError as exc:
            raise errors.WorkspaceError(f"cannot run git: {exc.strerror}") from None

    def _wait(self, action: str, process: subprocess.Popen[bytes]) -> int:
        try:
            return command.wait(process, self.timeout_s, self._stop_reason)
        except command.TookTooLongError:
            raise GitError(
                f"cannot {action}: git took longer than {format_duration(self.timeout_s)}",
                Problem.TIMED_OUT,
                advice="Check the server; KERUTA_GIT_TIMEOUT says how long git may take",
            ) from None
        except command.StoppedError as exc:
            raise GitError(f"stopped while it was to {action}: {exc}", Problem.STOPPED) from None


def is_true(value: str) -> bool:
    """Return whether git takes the value of a setting for a yes."""
    return value.lower() in ("true", "yes", "on") or (value.isdigit() and int(value) != 0)


def name_of(arguments: Sequence[str]) -> str:
    """Return the name of the command, after the settings before it."""
    return arguments[_place_of(arguments)]


def _place_of(arguments: Sequence[str]) -> int:
    place = 0
    while arguments[place] == "-c":
        place += 2
    return place


def _without_programs(arguments: Sequence[str]) -> list[str]:
    """Return a command that shows files as they are, not as a program of an attribute does."""
    place = _place_of(arguments) + 1
    more = ["--no-ext-diff", "--no-textconv"] if arguments[place - 1] in _SHOWING else []
    return [*arguments[:place], *more, *arguments[place:]]


def _read(file: IO[Any], most: int) -> bytes:
    file.seek(0)
    return bytes(file.read(most))


def records(output: bytes) -> Iterator[str]:
    """Yield the fields of output that ``-z`` has separated."""
    for field in output.split(b"\0"):
        if field:
            yield os.fsdecode(field)
