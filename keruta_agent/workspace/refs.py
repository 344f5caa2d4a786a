"""Finds what the session's ref means at the server, and brings it here."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from typing import Final

from keruta_agent import errors
from keruta_agent.workspace.clone import REMOTE, Clone, Say
from keruta_agent.workspace.problems import GitError

_COMMIT: Final = re.compile(r"[0-9a-f]{7,64}", re.IGNORECASE)
#: What no ref's name holds (git check-ref-format), and what would be read as something else.
_NO_REF: Final = re.compile(r"^-|\.\.|[\x00-\x20\x7f~^:?*\[\\]|@\{|/$|^/|\.lock$|//")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Remote:
    """What the server said about the refs that were asked for."""

    default_branch: str | None
    refs: Mapping[str, str]

    def branch(self, name: str) -> str | None:
        """Returns the commit of a branch."""
        return self.refs.get(f"refs/heads/{name}")

    def tag(self, name: str) -> str | None:
        """Returns what a tag names."""
        return self.refs.get(f"refs/tags/{name}")


def ask(clone: Clone, ref: str, branch: str) -> Remote:
    """Asks the server for its default branch, the session's ref and a task's branch, at once.

    Raises:
        GitError: it does not answer.
    """
    wanted = ["HEAD", f"refs/heads/{branch}"]
    if ref:
        wanted += [f"refs/heads/{ref}", f"refs/tags/{ref}"]
    answer = clone.git.text(
        *("ls-remote", "--symref", REMOTE, *dict.fromkeys(wanted)), action=f"ask {clone.url}"
    )
    default, refs = None, {}
    for line in answer.splitlines():
        value, _, name = line.partition("\t")
        if value.startswith("ref: refs/heads/") and name == "HEAD":
            default = value.removeprefix("ref: refs/heads/")
        elif name in wanted:
            refs[name] = value
    return Remote(default_branch=default, refs=refs)


def check(ref: str) -> str:
    """Returns the short form of the session's ref.

    Raises:
        WorkspaceError: no ref can have this name.
    """
    ref = ref.strip().removeprefix("refs/heads/").removeprefix("refs/tags/")
    if ref and _NO_REF.search(ref):
        raise errors.WorkspaceError(
            "the session's repositoryRef is no name of a branch, tag or commit",
            advice="Name one that the repository has, or leave it out for the default branch",
        )
    return ref


def bring(clone: Clone, remote: Remote, ref: str, say: Say) -> str | None:
    """Fetches the session's ref and returns its commit; None in a repository without commits.

    Raises:
        WorkspaceError: there is no such branch, tag or commit.
    """
    if not ref:
        if remote.default_branch and "HEAD" in remote.refs:
            return fetch_branch(clone, remote.default_branch, remote.refs["HEAD"])
        return _bring_head(clone, remote)
    if (commit := remote.branch(ref)) is not None:
        if remote.tag(ref):
            say(f"{ref} is a branch and a tag: takes the branch")
        return fetch_branch(clone, ref, commit)
    if remote.tag(ref) is not None:
        return _bring_tag(clone, remote, ref)
    if _COMMIT.fullmatch(ref) and (found := _bring_commit(clone, ref)) is not None:
        return found
    if not remote.refs.get("HEAD") and not clone.git.find("ls-remote", REMOTE):
        return None
    raise errors.WorkspaceError(
        f"{clone.url} has no branch, tag or commit {ref}",
        advice="Correct the session's repositoryRef",
    )


def fetch_branch(clone: Clone, name: str, commit: str) -> str:
    """Makes sure that a branch of the server is here, and returns its commit."""
    tracking = f"refs/remotes/{REMOTE}/{name}"
    if clone.git.find("rev-parse", "--verify", "--quiet", tracking) != commit:
        clone.git.run(
            *("fetch", "--quiet", "--no-tags", REMOTE, f"+refs/heads/{name}:{tracking}"),
            action=f"fetch {name} from {clone.url}",
        )
    return clone.git.text("rev-parse", "--verify", tracking, action=f"find {name}")


def _bring_head(clone: Clone, remote: Remote) -> str | None:
    head = remote.refs.get("HEAD")
    if head is None:
        return None
    if not clone.git.holds("cat-file", "-e", f"{head}^{{commit}}"):
        clone.git.run(
            *("fetch", "--quiet", "--no-tags", REMOTE, "HEAD"), action=f"fetch {clone.url}"
        )
    return head


def _bring_tag(clone: Clone, remote: Remote, name: str) -> str:
    local = f"refs/keruta/tags/{name}"
    if clone.git.find("rev-parse", "--verify", "--quiet", local) != remote.tag(name):
        clone.git.run(
            *("fetch", "--quiet", "--no-tags", REMOTE, f"+refs/tags/{name}:{local}"),
            action=f"fetch the tag {name} from {clone.url}",
        )
    return clone.git.text(
        "rev-parse", "--verify", f"{local}^{{commit}}", action=f"find the commit of the tag {name}"
    )


def _bring_commit(clone: Clone, ref: str) -> str | None:
    """Looks for a commit here, then asks the server for it, then for all that it has."""
    attempts = [[], ["--no-tags", REMOTE, ref], ["--tags", REMOTE]]
    for attempt in attempts:
        if attempt:
            try:
                clone.git.run("fetch", "--quiet", *attempt, action=f"fetch {ref} from {clone.url}")
            except GitError:
                if attempt is attempts[-1]:
                    raise
        found = clone.git.find("rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")
        if found is not None:
            return found
    return None
