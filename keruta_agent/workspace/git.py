"""Runs one git command: with a time limit, nobody to ask, and all its processes ended in the end.

With ``subprocess`` and not ``sh``: a task makes some twenty of these calls, ``sh`` takes five
milliseconds for each, and runs Python between fork and exec in a process that has threads.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any, Final

from keruta_agent import errors
from keruta_agent.observe.redact import Redactor
from keruta_agent.settings.units import format_duration
from keruta_agent.workspace import command
from keruta_agent.workspace.credentials import Credentials
from keruta_agent.workspace.problems import GitError, Problem, error_from

#: Seconds that a question about git's configuration may take.
CONFIG_S: Final = 5.0
#: Bytes of what a command wrote that are kept in memory.
MOST_OUTPUT: Final = 64 * 1024 * 1024
MOST_COMPLAINTS: Final = 256 * 1024

#: Variables that would lead git to another repository, or make it print what it sends.
_DROPPED: Final = frozenset(
    {
        *("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_PREFIX"),
        *("GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_COMMON_DIR", "GIT_NAMESPACE", "GIT_TOKEN"),
        *("GIT_CURL_VERBOSE", "GIT_SSL_NO_VERIFY", "GIT_REDIRECT_STDERR", "SSH_ASKPASS"),
    }
)
_DROPPED_BEGINNINGS: Final = ("KERUTA_", "GIT_TRACE", "GIT_TEST")
#: For every command. The agent does house-keeping itself, and starts nothing in the background.
_CONFIG: Final = (
    ("gc.auto", "0"),
    ("maintenance.auto", "false"),
    ("protocol.version", "2"),
    # A server that sends less than this for a minute hangs.
    ("http.lowSpeedLimit", "1"),
    ("http.lowSpeedTime", "60"),
    ("core.quotePath", "false"),
    ("submodule.recurse", "false"),
    ("fetch.recurseSubmodules", "false"),
    ("push.recurseSubmodules", "no"),
    ("rebase.autoStash", "false"),
    ("advice.detachedHead", "false"),
    ("color.ui", "false"),
)
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


class Git:
    """Git in one directory. Commands are for one thread at a time."""

    def __init__(
        self,
        directory: Path,
        *,
        timeout_s: float,
        credentials: Credentials | None = None,
        stop_reason: Callable[[], str | None] = command.no_stop,
        redactor: Redactor | None = None,
        variables: Mapping[str, str] | None = None,
    ) -> None:
        """Takes the limit in seconds, who may stop a command, and what every command sees."""
        self.directory = directory
        self.timeout_s = timeout_s
        self._credentials = credentials
        self._stop_reason = stop_reason
        known = () if credentials is None else credentials.secrets
        self._redactor = (redactor or Redactor()).with_secrets(known)
        self._environment = base_environment(os.environ, variables or {})
        if _may_set_ssh(self._environment, directory):
            self._environment["GIT_SSH_COMMAND"] = _SSH

    def at(self, directory: Path) -> Git:
        """Returns the same git in another directory."""
        other = object.__new__(Git)
        other.__dict__.update(self.__dict__, directory=directory)
        return other

    def with_variables(self, variables: Mapping[str, str]) -> Git:
        """Returns the same git with more variables."""
        other = self.at(self.directory)
        other._environment = {**self._environment, **variables}
        return other

    def has_variable(self, name: str) -> bool:
        """Tells whether every command sees a variable."""
        return name in self._environment

    def redact(self, text: str) -> str:
        """Returns a text without the secrets that git was given."""
        return self._redactor.redact(text)

    def run(
        self,
        *arguments: str,
        action: str,
        stdin: bytes = b"",
        ok: bool = True,
        most: int = MOST_OUTPUT,
    ) -> Result:
        """Runs a command; with ``ok`` a failure is an error that says what could not be done.

        Of its output, this many bytes are read.

        Raises:
            GitError: it failed, took too long, or was stopped.
        """
        with contextlib.ExitStack() as stack:
            environment = self._environment
            descriptors: tuple[int, ...] = ()
            if self._credentials is not None:
                more, descriptor = stack.enter_context(self._credentials.handed_over())
                environment = _with_config({**environment, **more}, (("credential.helper", ""),))
                descriptors = (descriptor,)
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
        """Runs a command and returns its output."""
        return self.run(*arguments, action=action).text

    def find(self, *arguments: str) -> str | None:
        """Runs a command that may fail and returns its output, None when it failed."""
        result = self.run(*arguments, action=f"run git {arguments[0]}", ok=False)
        return result.text if result.code == 0 else None

    def holds(self, *arguments: str) -> bool:
        """Tells whether a command that is a question says yes."""
        return self.run(*arguments, action=f"run git {arguments[0]}", ok=False).code == 0

    def _start(
        self,
        arguments: tuple[str, ...],
        environment: Mapping[str, str],
        descriptors: tuple[int, ...],
        streams: tuple[IO[Any], IO[Any], IO[Any]],
    ) -> subprocess.Popen[bytes]:
        given, output, complaints = streams
        try:
            return subprocess.Popen(
                ["git", *arguments],
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


def base_environment(
    environment: Mapping[str, str], variables: Mapping[str, str]
) -> dict[str, str]:
    """Returns the environment of git commands: the agent's own, without what misleads git."""
    kept = {
        name: value
        for name, value in environment.items()
        if name not in _DROPPED and not name.startswith(_DROPPED_BEGINNINGS)
    }
    kept |= {
        # English complaints, and hooks that can write Japanese.
        "LC_ALL": "C.UTF-8",
        "LANGUAGE": "",
        "GIT_TERMINAL_PROMPT": "0",
        "GCM_INTERACTIVE": "never",
        "SSH_ASKPASS_REQUIRE": "never",
        "GIT_EDITOR": "true",
        "GIT_PAGER": "cat",
        "GIT_MERGE_AUTOEDIT": "no",
        **variables,
    }
    return _with_config(kept, _CONFIG)


def _may_set_ssh(environment: Mapping[str, str], directory: Path) -> bool:
    """Tells whether nobody has said how git is to start ssh."""
    if "GIT_SSH_COMMAND" in environment or "GIT_SSH" in environment:
        return False
    place = directory if directory.is_dir() else Path("/")
    try:
        found = subprocess.run(
            ["git", "config", "--get", "core.sshCommand"],
            cwd=place,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=CONFIG_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):  # told by the first command that is needed
        return True
    return not found.stdout.strip()


def _with_config(
    environment: dict[str, str], settings: tuple[tuple[str, str], ...]
) -> dict[str, str]:
    count = int(environment.get("GIT_CONFIG_COUNT") or 0)
    for number, (key, value) in enumerate(settings, start=count):
        environment[f"GIT_CONFIG_KEY_{number}"] = key
        environment[f"GIT_CONFIG_VALUE_{number}"] = value
    environment["GIT_CONFIG_COUNT"] = str(count + len(settings))
    return environment


def _read(file: IO[Any], most: int) -> bytes:
    file.seek(0)
    return bytes(file.read(most))


def records(output: bytes) -> Iterator[str]:
    """Yields the fields of output that ``-z`` has separated."""
    for field in output.split(b"\0"):
        if field:
            yield os.fsdecode(field)
