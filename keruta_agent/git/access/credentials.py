"""User name and password for git, handed over unseen by other processes.

They are not put into an argument, an address, a file or a variable: git asks a credential helper
for them, which reads them from a file in memory whose descriptor it inherits. The helper is a
setting, not a program on the disk that a task could replace, and git asks it for one host only, so
that a submodule elsewhere gets nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from keruta_agent.core import atomic_file
from keruta_agent.git.access.token_hosts import is_meant
from keruta_agent.git.url import RepositoryUrl

HELPER_NAME: Final = "git-askpass"
#: GitHub and GitLab take any name, or this one, beside a token.
TOKEN_USERNAME: Final = "x-access-token"  # noqa: S105 - a user name
#: For scripts that may see GIT_TOKEN (KERUTA_PASS_ENVIRONMENT).
_HELPER: Final = """\
#!/bin/sh
# git asks this for the user name and the password of the session's repository (GIT_ASKPASS).
user=${KERUTA_ASKPASS_USER:-} password=${GIT_TOKEN:-}
case "$1" in
    "Username for "*"//$KERUTA_ASKPASS_HOST'"*) [ -n "$user" ] && printf '%s\\n' "$user" ;;
    "Password for "*"@$KERUTA_ASKPASS_HOST'"* | "Password for "*"//$KERUTA_ASKPASS_HOST'"*)
        [ -n "$password" ] && printf '%s\\n' "$password" ;;
    *) exit 1 ;;
esac
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class GitAccess:
    """The token of the driver's user, and the servers that it is for."""

    token: str | None = dataclasses.field(default=None, repr=False)
    username: str = TOKEN_USERNAME
    #: The only hosts that get the token; see ``token_hosts``.
    token_hosts: tuple[str, ...] = ()

    def credentials(self, url: RepositoryUrl) -> Credentials | None:
        """Return those for an address, None for none; the token goes before the address's own."""
        if url.scheme not in ("http", "https"):
            return None
        if self.token and is_meant(url, self.token, self.token_hosts):
            name, secret = self.username, self.token
        elif url.password:
            name, secret = url.username, url.password
        elif url.username:
            # A single word in front of the host is a token as often as a name.
            name, secret = TOKEN_USERNAME, url.username
        else:
            return None
        return Credentials(scheme=url.scheme, host=url.host, username=name, password=secret)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Credentials:
    """The access to a repository as git gets it; all else it finds in the environment."""

    #: What they are for: scheme, and host with its port as git names it.
    scheme: str
    host: str
    username: str = dataclasses.field(repr=False)
    password: str = dataclasses.field(repr=False)

    @property
    def secrets(self) -> tuple[str, ...]:
        """What no text may show."""
        return (self.password,)

    @contextlib.contextmanager
    def handed_over(self) -> Iterator[tuple[tuple[tuple[str, str], ...], int]]:
        """Yield the settings of a git command that has to inherit the descriptor."""
        descriptor = os.memfd_create("keruta-credentials")
        try:
            answer = f"username={self.username}\npassword={self.password}\n"
            os.write(descriptor, answer.encode())
            helper = f'!f() {{ test "$1" = get && cat /proc/self/fd/{descriptor}; }}; f'
            yield (
                tuple(
                    (f"credential.{scheme}://{self.host}.helper", value)
                    # Over https also when http was meant, never the other way round.
                    for scheme in dict.fromkeys((self.scheme, "https"))
                    # The empty one keeps the user's own helpers from storing what they see.
                    for value in ("", helper)
                ),
                descriptor,
            )
        finally:
            os.close(descriptor)

    def for_script(self, helper: Path) -> dict[str, str]:
        """Return what lets a script that was given GIT_TOKEN push with it; it holds no secret.

        ``helper`` is the program of ``install_helper``.
        """
        return {
            "GIT_ASKPASS": str(helper),
            "KERUTA_ASKPASS_HOST": self.host,
            "KERUTA_ASKPASS_USER": self.username,
        }


def install_helper(directory: Path) -> Path:
    """Write the helper of scripts into a directory of programs, and return it."""
    helper = directory / HELPER_NAME
    atomic_file.write(helper, _HELPER.encode(), mode=0o700)
    return helper
