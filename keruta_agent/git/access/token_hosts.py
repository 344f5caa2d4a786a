"""Which servers a token is for: the address of a repository comes from the author of a task.

A token opens everything of its owner's; so it goes to the hosts that the agent's owner has named,
and by default only to where such tokens come from.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from keruta_agent.git.url import RepositoryUrl

#: Public servers, and how the tokens begin that each of them gives out.
_ISSUERS: Final[dict[str, tuple[str, ...]]] = {
    "github.com": ("ghp_", "gho_", "ghu_", "ghs_", "github_pat_"),
    "gitlab.com": ("glpat-", "gldt-", "glcbt-", "glptt-", "gloas-"),
    "bitbucket.org": ("ATBB", "ATCTT"),
}
_PORTS: Final = {"https": ":443", "http": ":80"}


def is_meant(url: RepositoryUrl, token: str, hosts: Iterable[str]) -> bool:
    """Return whether a token may be sent to a repository's server.

    ``hosts`` are those that somebody has named; without any, the public server that the token is
    from, or each of them when it does not say. Over plain http it goes only where that is named
    with ``http://``: whoever is in between could read it.
    """
    named = [*hosts] or _issuers(token)
    return _place(f"{url.scheme}://{url.host}") in map(_place, named)


def _issuers(token: str) -> list[str]:
    known = [host for host, beginnings in _ISSUERS.items() if token.startswith(beginnings)]
    return known or [*_ISSUERS]


def _place(name: str) -> str:
    """Return a scheme and host as all ways to write it have in common."""
    scheme, _, host = name.lower().rstrip("/").rpartition("://")
    scheme = scheme or "https"
    return f"{scheme}://{host.removesuffix(_PORTS.get(scheme, ''))}"
