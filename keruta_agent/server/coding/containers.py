"""The executor that starts runners in containers, by the command line of docker or podman.

A container gets a directory to work in and one to read: there are the socket of its fence and the
variables of its runner, keys among them, in a file that is gone as soon as the runner has read it.
Its name and labels tell its attempt, so that whoever comes after a crash knows what to remove.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import socket
import subprocess
import threading
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from keruta_agent.core.coding import context_file, environment_file, fence
from keruta_agent.core.process_tree.children import OWN
from keruta_agent.server.coding import directories
from keruta_agent.server.coding.attempts import Claim, Ending
from keruta_agent.server.coding.directories import AttemptDirectory
from keruta_agent.server.coding.executor import (
    GRACE_S,
    IsOver,
    MayPush,
    answer,
    context_of,
    for_runner,
)
from keruta_agent.server.coding.outcomes import Output

#: Who a container runs as where the worker is root: nobody that the machine knows.
NOBODY: Final = "65532:65532"
TASK_LABEL: Final = "keruta.task"
ATTEMPT_LABEL: Final = "keruta.attempt"
_NAME: Final = re.compile(r"keruta-([0-9a-f-]{36})-(\d+)")
#: Seconds that a command about containers may take.
_COMMAND_S: Final = 60.0
#: Where a container finds what is for its runner, and where it works.
_GIVEN: Final = "/run/keruta"
_WORK: Final = "/work"
_VARIABLES: Final = "environment.json"
_SOCKET: Final = "fence.sock"
#: Variables that describe the worker's machine, not what a runner is to do.
_OF_THE_MACHINE: Final = re.compile(
    r"(PATH|HOME|PWD|OLDPWD|SHELL|SHLVL|USER|LOGNAME|HOSTNAME|TERM|TMPDIR|_|VIRTUAL_ENV"
    r"|KERUTA_BASE_DIR|SSH_AUTH_SOCK|(XDG|DOCKER|CONTAINER|CONTAINERS|LD|PYTHON|BASH)_?.*)"
)
#: Variables that docker's and podman's command lines read.
_OF_THE_CLIENT: Final = re.compile(r"(PATH|HOME|USER|LANG|TMPDIR|(XDG|DOCKER|CONTAINER)S?_.*)")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ContainerSettings:
    """How containers are run."""

    image: str
    #: The program, with options of its own.
    program: Sequence[str] = ("docker",)
    network: str = "bridge"
    memory: str = "2g"
    #: Numbers of user and group.
    user: str = NOBODY
    #: More directories, as ``SOURCE:TARGET[:ro]``.
    volumes: Sequence[str] = ()
    #: More options of ``run``.
    options: Sequence[str] = ()
    python: str = "python3"

    def command(self, claim: Claim, given: Path, work: Path) -> list[str]:
        """Return the command line that runs a container for an attempt; it holds no secret."""
        return [
            *self.program,
            "run",
            "--rm",
            *("--name", name_of(claim)),
            *("--label", f"{TASK_LABEL}={claim.task_id}"),
            *("--label", f"{ATTEMPT_LABEL}={claim.attempt}"),
            *("--network", self.network),
            *("--memory", self.memory),
            *("--user", self.user),
            "--read-only",
            *("--cap-drop", "all"),
            *("--security-opt", "no-new-privileges"),
            *("--tmpfs", "/tmp:rw,mode=1777"),  # noqa: S108 - in the container
            *("--mount", f"type=bind,source={given},target={_GIVEN},readonly"),
            *("--mount", f"type=bind,source={work},target={_WORK}"),
            *(part for volume in self.volumes for part in ("--volume", volume)),
            *("--workdir", _WORK),
            *("--env", f"{environment_file.VARIABLE}={_GIVEN}/{_VARIABLES}"),
            *self.options,
            self.image,
            *(self.python, "-m", "keruta_agent.runner"),
        ]


def name_of(claim: Claim) -> str:
    """Return the name of an attempt's container."""
    return f"keruta-{claim.task_id}-{claim.attempt}"


class Containers:
    """The executor that starts runners in containers."""

    def __init__(
        self, settings: ContainerSettings, environment: Mapping[str, str] = os.environ
    ) -> None:
        self._settings = settings
        self._client = {
            name: value for name, value in environment.items() if _OF_THE_CLIENT.fullmatch(name)
        }
        self._given = {
            name: value
            for name, value in for_runner(environment).items()
            if not _OF_THE_MACHINE.fullmatch(name)
        }

    def start(self, claim: Claim, may_push: MayPush) -> Container:
        """Start a runner for an attempt."""
        return Container(claim, may_push, self._settings, self._client, self._given)

    def tidy(self, is_over: IsOver) -> None:
        """Remove containers of attempts that are over, and directories whose workers have gone."""
        listed = self._run("ps", "--all", "--filter", f"label={TASK_LABEL}", "--format={{.Names}}")
        for name in listed.split():
            found = _NAME.fullmatch(name)
            if found is not None and is_over(found.group(1), int(found.group(2))):
                self._run("rm", "--force", name)
        directories.remove_left()

    def _run(self, *arguments: str) -> str:
        command = [*self._settings.program, *arguments]
        return _output(command, self._client)


class Container:
    """A runner in a container."""

    def __init__(
        self,
        claim: Claim,
        may_push: MayPush,
        settings: ContainerSettings,
        client: Mapping[str, str],
        given: Mapping[str, str],
    ) -> None:
        self._name = name_of(claim)
        self._program = [*settings.program]
        self._client = client
        self._may_push = may_push
        self._directory = AttemptDirectory()
        self._listener = socket.socket(socket.AF_UNIX)
        try:
            self._fill(claim, given, settings.user)
            self._process = OWN.spawn(
                settings.command(claim, self._given, self._directory.work),
                env=client,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        except BaseException:
            self._listener.close()
            self._directory.remove()
            raise
        self._output = Output(self._process.stdout)
        self._gate = threading.Thread(target=self._answer, name="fence", daemon=True)
        self._gate.start()

    def wait(self) -> Ending:
        """Wait for the end of the container, and return what came of it."""
        try:
            code = self._process.wait()
        finally:
            # Where its client has been killed, the container goes on without it.
            self._command("rm", "--force", self._name)
            with contextlib.suppress(OSError):
                self._listener.shutdown(socket.SHUT_RDWR)
            self._gate.join()
            self._listener.close()
            self._directory.remove()
        # Containers say so of processes that were killed: for want of memory, for instance.
        return self._output.ending(128 - code if code > 128 else code)

    def stop(self) -> None:
        """Have the runner end in order; it is killed when that takes too long."""
        arguments = "stop", "-t", f"{GRACE_S:.0f}", self._name
        threading.Thread(target=self._command, args=arguments, name="stop", daemon=True).start()

    @property
    def _given(self) -> Path:
        return self._directory.path / "given"

    def _fill(self, claim: Claim, given: Mapping[str, str], user: str) -> None:
        """Make the two directories, for the user of the container alone."""
        variables = {
            **given,
            "HOME": _WORK,
            "KERUTA_BASE_DIR": f"{_WORK}/.keruta",
            context_file.VARIABLE: context_of(claim),
            fence.SOCKET_VARIABLE: f"{_GIVEN}/{_SOCKET}",
        }
        self._given.mkdir(mode=0o700)
        file = self._given / _VARIABLES
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as writing:
            json.dump(variables, writing)
        path = self._given / _SOCKET
        _bind(self._listener, path)
        path.chmod(0o600)
        if os.geteuid() == 0:
            uid, gid = map(int, user.split(":"))
            for each in (file, path, self._given, self._directory.work):
                os.chown(each, uid, gid)

    def _answer(self) -> None:
        """Take the runner's connection, remove what it has read, and answer its questions."""
        try:
            connection, _ = self._listener.accept()
        except OSError:  # it ended without
            return
        with connection:
            # The commands of the task run as the same user, and could read the keys.
            (self._given / _VARIABLES).unlink(missing_ok=True)
            answer(connection, self._may_push)

    def _command(self, *arguments: str) -> None:
        with contextlib.suppress(OSError):
            _output([*self._program, *arguments], self._client)


def _bind(listener: socket.socket, path: Path) -> None:
    """Listen at a path that may be longer than a socket's address."""
    descriptor = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        listener.bind(f"/proc/self/fd/{descriptor}/{path.name}")
    finally:
        os.close(descriptor)
    listener.listen(1)


def _output(command: Sequence[str], environment: Mapping[str, str]) -> str:
    """Return what a command about containers writes.

    Raises:
        OSError: it cannot be run, or fails.
    """
    try:
        done = OWN.run(command, timeout=_COMMAND_S, env=environment)
    except subprocess.TimeoutExpired as exc:
        raise TimeoutError(f"{command[0]} does not answer") from exc
    if done.returncode:
        raise OSError(f"{command[0]}: {done.stderr.decode(errors='replace').strip()[-500:]}")
    return done.stdout.decode(errors="replace")
