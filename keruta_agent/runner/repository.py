"""Git in the workspace of a run: without the model's key, with the run's clock."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeVar

from keruta_agent import errors
from keruta_agent.git.access.credentials import TOKEN_USERNAME, Credentials
from keruta_agent.git.command import Git
from keruta_agent.git.problems import TRANSIENT, GitError
from keruta_agent.git.url import RepositoryUrl, parse
from keruta_agent.runner.clock import Clock
from keruta_agent.runner.config import RetryConfig

REMOTE: Final = "origin"
#: Seconds that one command of git may take; the run's clock ends it as well.
MOST_S: Final = 600.0
_Given = TypeVar("_Given")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Access:
    """How git may reach where the remote of a workspace is."""

    token: str | None = dataclasses.field(default=None, repr=False)
    username: str = TOKEN_USERNAME
    #: Hosts that the token is for; see ``token_hosts``.
    hosts: tuple[str, ...] = ()
    #: The remote's address with what it holds beside: a user name, a password.
    login: RepositoryUrl | None = None
    #: The program of ``credentials.install_helper``; without it git is told nothing.
    helper: Path | None = None
    #: Variables that git has no use for.
    hidden: tuple[str, ...] = ()

    def credentials(self, remote: RepositoryUrl) -> Credentials | None:
        """Returns what git is told when it asks, None for nothing."""
        if self.helper is None:
            return None
        login = self.login
        url = login if login is not None and login.address == remote.address else remote
        return Credentials.of(url, self.token, self.username, self.helper, hosts=self.hosts)


def open_git(path: Path, *, clock: Clock, access: Access) -> Git:
    """Returns git in a directory, with access to where its remote is."""
    variables = dict.fromkeys(access.hidden, "")
    plain = Git(
        path,
        timeout_s=MOST_S,
        stop_reason=clock.stop_reason,
        variables=variables,
    )
    url = remote_url(plain)
    if url is None:
        return plain
    return Git(
        path,
        timeout_s=MOST_S,
        url=url,
        credentials=access.credentials(url),
        stop_reason=clock.stop_reason,
        variables=variables,
    )


def remote_url(git: Git) -> RepositoryUrl | None:
    """Returns the address of the remote, None when there is none."""
    found = git.find("remote", "get-url", REMOTE)
    return parse(found) if found else None


def retried(attempt: Callable[[], _Given], retry: RetryConfig, clock: Clock) -> tuple[_Given, int]:
    """Returns what an attempt gave, tried again while its connection fails, and how often it was.

    Raises:
        WorkspaceError: it failed, for good or too often.
    """
    for number in range(retry.max_retries + 1):
        try:
            return attempt(), number
        except GitError as exc:
            if exc.problem not in TRANSIENT or number == retry.max_retries:
                raise
            _pause(min(retry.get_delay(number), clock.left_s), clock)
    raise errors.WorkspaceError("git was not tried at all")


def _pause(wait_s: float, clock: Clock) -> None:
    until = time.monotonic() + wait_s
    while (left := until - time.monotonic()) > 0:
        clock.check()
        time.sleep(min(left, 0.1))
