"""Git in the workspace of a run: without the model's key, with the run's deadline."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Final

from keruta_agent.git.access.credentials import Credentials, GitAccess
from keruta_agent.git.command import Git
from keruta_agent.git.retry import Retry
from keruta_agent.git.url import REMOTE, RepositoryUrl, parse
from keruta_agent.runner.config import RetryConfig
from keruta_agent.runner.deadline import Deadline

#: Seconds that one command of git may take; the run's deadline ends it as well.
MOST_S: Final = 600.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class WorkspaceAccess:
    """How git may reach where the remote of a workspace is."""

    servers: GitAccess = dataclasses.field(default_factory=GitAccess)
    #: The remote's address with what it holds beside: a user name, a password.
    login: RepositoryUrl | None = None
    #: Variables that git has no use for.
    hidden: tuple[str, ...] = ()

    def git(self, path: Path, url: RepositoryUrl | None, deadline: Deadline) -> Git:
        """Return git in a directory, with access to where its remote is, if it has one."""
        return Git(
            path,
            timeout_s=MOST_S,
            url=url,
            credentials=None if url is None else self._credentials(url),
            stop_reason=deadline.stop_reason,
            variables=dict.fromkeys(self.hidden, ""),
        )

    def _credentials(self, remote: RepositoryUrl) -> Credentials | None:
        login = self.login
        same = login is not None and login.address == remote.address
        return self.servers.credentials(login if login is not None and same else remote)


def remote_url(git: Git) -> RepositoryUrl | None:
    """Return the address of the remote, None when there is none."""
    found = git.find("remote", "get-url", REMOTE)
    return parse(found) if found else None


def retrying(config: RetryConfig, deadline: Deadline) -> Retry:
    """Return how often the network is tried while the run may go on."""

    def pause(attempt: int) -> None:
        until = time.monotonic() + min(config.get_delay(attempt), deadline.left_s)
        while (left := until - time.monotonic()) > 0:
            deadline.check()
            time.sleep(min(left, 0.1))

    return Retry(attempts=config.max_retries + 1, pause=pause)
