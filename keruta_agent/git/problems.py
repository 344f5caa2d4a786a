"""What git's complaints mean, and what a person has to set up so that they end."""

from __future__ import annotations

import dataclasses
import enum
import re
from typing import Final

from keruta_agent.core import errors


class Problem(enum.StrEnum):
    """Kinds of failures of a git command."""

    HOST_KEY = "host_key"
    AUTHENTICATION = "authentication"
    CERTIFICATE = "certificate"
    NOT_FOUND = "not_found"
    UNREACHABLE = "unreachable"
    BROKEN_OFF = "broken_off"
    TIMED_OUT = "timed_out"
    LOCKED = "locked"
    OWNERSHIP = "ownership"
    PERMISSION = "permission"
    DISK_FULL = "disk_full"
    IDENTITY = "identity"
    SIGNING = "signing"
    MISSING_PROGRAM = "missing_program"
    STOPPED = "stopped"
    #: A submodule or large files could not be brought, and git does not say why.
    PART = "part"
    OTHER = "other"


#: What may be gone when it is tried again in a moment.
TRANSIENT: Final = frozenset({Problem.UNREACHABLE, Problem.BROKEN_OFF})
#: What lies between here and the server, or at it. The configuration of a clone can cause it too.
OF_THE_SERVER: Final = frozenset(
    {
        *(Problem.HOST_KEY, Problem.AUTHENTICATION, Problem.CERTIFICATE, Problem.NOT_FOUND),
        *(Problem.UNREACHABLE, Problem.BROKEN_OFF, Problem.TIMED_OUT),
    }
)
#: What another clone would not change.
NOT_LOCAL: Final = OF_THE_SERVER | {
    *(Problem.DISK_FULL, Problem.MISSING_PROGRAM, Problem.STOPPED, Problem.OWNERSHIP),
    *(Problem.IDENTITY, Problem.SIGNING),
}


class GitError(errors.WorkspaceError):
    """A git command failed."""

    def __init__(self, message: str, problem: Problem, *, advice: str = "") -> None:
        super().__init__(message, advice=advice)
        self.problem = problem


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Meaning:
    problem: Problem
    pattern: re.Pattern[str]
    advice: str


def _means(problem: Problem, pattern: str, advice: str) -> _Meaning:
    return _Meaning(problem=problem, pattern=re.compile(pattern, re.IGNORECASE), advice=advice)


#: The first that is found in git's complaints counts.
_MEANINGS: Final = (
    _means(
        Problem.HOST_KEY,
        r"host key verification failed|remote host identification has changed"
        r"|no \S+ host key is known",
        "Compare the host's key with what its owner says, then add it: "
        "ssh-keyscan HOST >> ~/.ssh/known_hosts",
    ),
    _means(
        Problem.AUTHENTICATION,
        r"authentication failed|could not read (username|password)|terminal prompts disabled"
        r"|access denied|permission denied \((publickey|password|keyboard)"
        r"|invalid (username|credentials)|returned error: 40[13]|unable to read askpass"
        r"|too many authentication failures",
        "Give the agent access: GIT_TOKEN for https, which only the hosts of git.token_hosts "
        "(KERUTA_GIT_TOKEN_HOSTS) get, a key in the ssh agent or ~/.ssh for ssh, "
        "or a credential helper of git",
    ),
    _means(
        Problem.CERTIFICATE,
        r"certificate (problem|verif)|server certificate|ssl_error|certificate has expired",
        "Add the server's certificate authority: SSL_CERT_FILE, or git's http.sslCAInfo",
    ),
    _means(
        Problem.OWNERSHIP,
        r"dubious ownership",
        "Allow it with: git config --global --add safe.directory DIRECTORY",
    ),
    _means(
        Problem.DISK_FULL,
        r"no space left on device|disk quota exceeded",
        "Make room on the disk",
    ),
    _means(
        Problem.LOCKED,
        r"\.lock': File exists|another git process seems to be running|unable to lock|cannot lock",
        "Another git works there: let it end, or remove the lock that it left behind",
    ),
    _means(
        Problem.PERMISSION,
        r"^(?!remote:|ssh:|\S+@).*(: permission denied|operation not permitted)",
        "Look at who owns it; what tasks leave of other users, containers mostly, is theirs",
    ),
    _means(
        Problem.UNREACHABLE,
        r"could not resolve|connection refused|connection timed out|failed to connect|timed out"
        r"|network is unreachable|no route to host|couldn't connect|name or service not known"
        r"|temporary failure in name resolution|kex_exchange_identification",
        "Check that the server runs and can be reached from here",
    ),
    _means(
        Problem.NOT_FOUND,
        r"repository '?.*'? not found|does not appear to be a git repository|returned error: 404"
        r"|repository .*does not exist|not found in upstream|no such remote|project .* not found",
        "Check the session's repositoryUrl, and that the agent's account may see the repository",
    ),
    _means(
        Problem.TIMED_OUT,
        r"operation too slow|less than \d+ bytes",
        "Check the server and the network; KERUTA_GIT_TIMEOUT says how long git may take",
    ),
    _means(
        Problem.BROKEN_OFF,
        r"early eof|unexpected disconnect|hung up unexpectedly|rpc failed|empty reply"
        r"|transfer closed|connection reset|connection closed|broken pipe|invalid index-pack"
        r"|returned error: 5\d\d|unexpected end|bad line length|recv failure",
        "The connection broke off; try again, and look at the server's log if it happens again",
    ),
    _means(
        Problem.SIGNING,
        r"failed to sign|gpg failed|signing ?key|no secret key"
        # ssh-keygen's own words
        r"|couldn't load public key|no private key found|couldn't find key in agent",
        "Give git a key that needs no pass phrase (user.signingKey), or turn git.sign off",
    ),
    _means(
        Problem.IDENTITY,
        r"please tell me who you are|empty ident name|unable to auto-detect email",
        "Set git's user.name and user.email, or GIT_AUTHOR_NAME and GIT_AUTHOR_EMAIL",
    ),
)
_NOISE: Final = re.compile(
    r"^(remote: )?(Cloning into|warning:|hint:|Counting|Compressing|Enumerating|Receiving"
    r"|Resolving|Updating files|Everything up-to-date|From |To |POST |@)|^\W*$"
)
_SPOKEN_FIRST: Final = re.compile(r"^(fatal|error|remote|ssh):", re.IGNORECASE)
_LONGEST_CAUSE: Final = 300


def error_from(action: str, complaints: str) -> GitError:
    """Return the error for a command that failed: what was done, git's own words, and advice."""
    said = [line.strip() for line in complaints.splitlines()]
    lines = [line for line in said if line and not _NOISE.search(line)]
    # Some commands fail with nothing but warnings, such as git clean.
    warnings = [line for line in said if line.startswith("warning:")]
    heard = lines or warnings
    for meaning in _MEANINGS:
        found = next((line for line in heard if meaning.pattern.search(line)), None)
        if found is not None:
            return _error(action, found, meaning.problem, meaning.advice)
    spoken = [line for line in heard if _SPOKEN_FIRST.search(line)] or heard[-1:]
    cause = spoken[0] if spoken else "git gave no reason"
    return _error(action, cause, Problem.OTHER, "")


def _error(action: str, cause: str, problem: Problem, advice: str) -> GitError:
    cause = re.sub(r"^(fatal|error|warning): ", "", cause).rstrip(".")[:_LONGEST_CAUSE]
    return GitError(f"cannot {action}: {cause}", problem, advice=advice)
