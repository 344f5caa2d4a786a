"""Addresses of repositories: every form that git takes, without what must not be shown.

The user information of an http address is taken out and handed to git by other means: in an
address it would stand in the process list, in ``.git/config`` and in git's own messages.
"""

from __future__ import annotations

import dataclasses
import hashlib
import re
from typing import Final
from urllib.parse import unquote, urlsplit

from keruta_agent.core import errors

#: How every clone names the server that it is from.
REMOTE: Final = "origin"
#: What git may be asked to speak. Not ``ext::`` and its like, which run programs.
SCHEMES: Final = ("http", "https", "ssh", "git", "file")
_SAME_SCHEME: Final = {"git+ssh": "ssh", "ssh+git": "ssh"}
_SCP_LIKE: Final = re.compile(
    r"(?P<login>[^\s/:@]+@)?(?P<host>\[[^\]\s]+\]|[^\s/:@\[\]]+):(?P<path>.*)"
)
_UNSAFE_IN_NAME: Final = re.compile(r"[\x00-\x1f\x7f/\\:]+")
#: Bytes of a directory's name; file systems take 255, and a hash may follow.
_LONGEST_NAME: Final = 200
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_HOW: Final = "Write https://host/owner/name.git, git@host:owner/name.git, or an absolute path"


@dataclasses.dataclass(frozen=True, kw_only=True)
class RepositoryUrl:
    """Where a repository is."""

    #: What git is given; holds no password, and no user name for http.
    address: str
    scheme: str
    #: Host with its port, as git names it when it asks for a password; empty for files.
    host: str
    #: Path on the host, without slashes at its ends and without ``.git``.
    path: str
    username: str = dataclasses.field(default="", repr=False)
    password: str = dataclasses.field(default="", repr=False)

    @property
    def name(self) -> str:
        """The last part of the path, made fit for a directory's name."""
        last = _UNSAFE_IN_NAME.sub("_", unquote(self.path.rpartition("/")[2])).strip()
        last = last.encode(errors="replace")[:_LONGEST_NAME].decode(errors="ignore")
        return "repository" if last.strip(".") == "" else last

    @property
    def identity(self) -> str:
        """What two addresses of one repository have in common, however they are spoken to."""
        host = self.host.rpartition("@")[2].lower()
        return f"{re.sub(r':[0-9]+$', '', host)}/{self.path}"

    @property
    def digest(self) -> str:
        """Eight digits that tell repositories of the same name apart."""
        return hashlib.sha256(self.identity.encode()).hexdigest()[:8]

    def __str__(self) -> str:
        return self.address


def parse(text: str) -> RepositoryUrl:
    """Read an address.

    A query or fragment of an http address is dropped: it was copied from a browser, and may hold a
    token.

    Raises:
        WorkspaceError: it is none, or none that the agent speaks.
    """
    text = text.strip()
    if not text or text.startswith("-") or _CONTROL.search(text):
        raise _unreadable("is empty or holds what no address holds")
    scheme, colon, rest = text.partition("://")
    if colon:
        return _with_scheme(_SAME_SCHEME.get(scheme.lower(), scheme.lower()), rest)
    if text.startswith("/"):
        return _file(text)
    found = _SCP_LIKE.fullmatch(text)
    if found is None or not found["path"].strip("/") or found["path"].startswith(":"):
        raise _unreadable("is no address that git takes")
    login, host = found["login"] or "", found["host"]
    if host.startswith("-") or login.startswith("-"):
        raise _unreadable("begins with a dash where a host is meant")
    path = found["path"].rstrip("/")
    return RepositoryUrl(
        address=f"{login}{host}:{path}", scheme="ssh", host=host, path=_plain(path)
    )


def without_secrets(text: str) -> str:
    """Return an address as it may be shown, also one that cannot be read."""
    try:
        return parse(text).address
    except errors.WorkspaceError:
        return re.sub(r"//[^/@]*@", "//***@", text)[:200]


def _with_scheme(scheme: str, rest: str) -> RepositoryUrl:
    if scheme not in SCHEMES:
        raise _unreadable(f"uses {scheme!r}, which the agent does not speak")
    if scheme == "file":
        return _file("/" + rest.partition("/")[2])
    try:
        parts = urlsplit(f"{scheme}://{rest}")
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise _unreadable(
            "holds an invalid host, or a port that is no number up to 65535"
        ) from None
    path = parts.path.rstrip("/")
    if not host or not path.strip("/") or host.startswith("-"):
        raise _unreadable("lacks the host or the path")
    if scheme in ("http", "https"):
        place = f"[{host}]" if ":" in host else host
        place = place if port is None else f"{place}:{port}"
        return RepositoryUrl(
            address=f"{scheme}://{place}{path}",
            scheme=scheme,
            host=place,
            path=_plain(path),
            username=unquote(parts.username or ""),
            password=unquote(parts.password or ""),
        )
    # ssh takes no password in an address; one that stands there must go no further.
    login = f"{parts.username}@" if parts.username else ""
    place = parts.netloc.rpartition("@")[2]
    return RepositoryUrl(
        address=f"{scheme}://{login}{place}{path}", scheme=scheme, host=place, path=_plain(path)
    )


def _file(path: str) -> RepositoryUrl:
    path = path.rstrip("/")
    if not path:
        raise _unreadable("names the root of the file system")
    return RepositoryUrl(address=path, scheme="file", host="", path=_plain(path))


def _plain(path: str) -> str:
    """Return a path without what may be left out of it."""
    return path.strip("/").removesuffix("/.git").removesuffix(".git").rstrip("/")


def _unreadable(why: str) -> errors.WorkspaceError:
    # The text itself is not shown: it may hold a password in a place where nobody looks for one.
    return errors.WorkspaceError(f"the repository's address {why}", advice=_HOW)
