"""A git server over ssh: a real sshd with a key of its own, for the person who runs the tests."""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.helpers.processes import free_port
from tests.helpers.repositories import Repository
from tests.helpers.waiting import wait_until

SSHD = shutil.which("sshd", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin")


def need_sshd() -> None:
    """Skip the test where no sshd is installed; on a CI machine there must be one."""
    if SSHD is None and not os.environ.get("CI"):
        pytest.skip("needs sshd: apt-get install openssh-server")
    assert SSHD is not None, "sshd is missing on a CI machine"


class GitSshServer:
    """One sshd, a client's key that it accepts, and what the client knows of its key."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self.known_hosts = directory / "known_hosts"
        self.key = directory / "key"
        self.stranger_key = directory / "stranger"
        for name in ("host", "key", "stranger"):
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / name)]
            subprocess.run(command, check=True)
        accepted = directory / "authorized_keys"
        accepted.write_text(self.key.with_suffix(".pub").read_text())
        host_key = (directory / "host.pub").read_text().split(" ")[:2]
        self.known_hosts.write_text(f"[127.0.0.1]:{self.port} {' '.join(host_key)}\n")
        (directory / "config").write_text(
            f"Port {self.port}\n"
            "ListenAddress 127.0.0.1\n"
            f"HostKey {directory / 'host'}\n"
            f"PidFile {directory / 'pid'}\n"
            f"AuthorizedKeysFile {accepted}\n"
            "PasswordAuthentication no\n"
            "KbdInteractiveAuthentication no\n"
            "StrictModes no\n"
            "UsePAM no\n"
            "PermitRootLogin prohibit-password\n"
        )

    def url(self, repository: Repository) -> str:
        """Return the address of a repository."""
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}{repository.path}"

    def command(self, *, knows_host: bool = True, has_key: bool = True) -> str:
        """Return how a client starts ssh, by its settings for it."""
        known = self.known_hosts if knows_host else "/dev/null"
        key = self.key if has_key else self.stranger_key
        return (
            f"ssh -F /dev/null -oBatchMode=yes -oUserKnownHostsFile={known} "
            f"-oGlobalKnownHostsFile=/dev/null -oIdentitiesOnly=yes -oIdentityFile={key}"
        )

    def accepts(self) -> bool:
        """Return whether the server listens."""
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
        except OSError:
            return False
        return True


@contextlib.contextmanager
def git_ssh_server(directory: Path) -> Iterator[GitSshServer]:
    """Run an sshd for the length of the block."""
    directory.mkdir()
    server = GitSshServer(directory)
    if os.getuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [str(SSHD), "-D", "-e", "-f", str(directory / "config")],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
    try:
        wait_until(server.accepts, "sshd listens")
        yield server
    finally:
        process.terminate()
        process.wait(10)
