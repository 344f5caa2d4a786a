"""What refs mean at the server, and how they are brought here."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Final

from keruta_agent.core import errors
from keruta_agent.git.clone import Clone
from keruta_agent.git.command import Git, Say
from keruta_agent.git.problems import GitError, Problem
from keruta_agent.git.url import REMOTE

_COMMIT: Final = re.compile(r"[0-9a-f]{7,64}", re.IGNORECASE)
#: What no ref's name holds (git check-ref-format), and what would be read as something else.
_NO_REF: Final = re.compile(r"^-|\.\.|[\x00-\x20\x7f~^:?*\[\\]|@\{|/$|^/|\.lock$|//")


#: The tags of sessions. What ``refs/tags`` holds may be a script's own.
_TAGS: Final = "refs/keruta/tags/"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Remote:
    """What the server said about the refs that were asked for."""

    default_branch: str | None
    refs: Mapping[str, str]

    def branch(self, name: str) -> str | None:
        """Return the commit of a branch."""
        return self.refs.get(f"refs/heads/{name}")

    def tag(self, name: str) -> str | None:
        """Return what a tag names."""
        return self.refs.get(f"refs/tags/{name}")


def ask(clone: Clone, *branches: str, ref: str = "") -> Remote:
    """Ask the server for its default branch, for others, and for a ref of any kind, at once.

    Raises:
        GitError: it does not answer.
    """
    wanted = ["HEAD", *(f"refs/heads/{branch}" for branch in branches)]
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
    """Return the short form of the session's ref.

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


def bring(clone: Clone, remote: Remote, ref: str, known: Mapping[str, str], say: Say) -> str | None:
    """Fetch the session's ref and return its commit; None in a repository without commits.

    ``known`` is what ``commits_of`` said of what was fetched before.

    Raises:
        WorkspaceError: there is no such branch, tag or commit.
    """
    if not ref:
        if remote.default_branch and "HEAD" in remote.refs:
            return fetch_branches(clone, {remote.default_branch: remote.refs["HEAD"]}, known)[0]
        return _bring_head(clone, remote)
    if (commit := remote.branch(ref)) is not None:
        if remote.tag(ref):
            say(f"{ref} is a branch and a tag: takes the branch")
        return fetch_branches(clone, {ref: commit}, known)[0]
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


def fetch(git: Git, specs: Sequence[str], *, action: str) -> None:
    """Fetch from the server; a fetched ref that excludes a new one is dropped.

    Of a branch ``feature`` and one ``feature/x`` git can hold one only: after the server has
    changed from one to the other, what was fetched before goes.

    Raises:
        GitError: they cannot be fetched.
    """
    arguments = ("fetch", "--quiet", "--no-tags", REMOTE, *specs)
    try:
        git.run(*arguments, action=action)
    except GitError as exc:
        targets = [spec.partition(":")[2] for spec in specs]
        if exc.problem is not Problem.LOCKED or not _drop_fetched(git, targets):
            raise
        git.run(*arguments, action=action)


def in_the_way(git: Git, target: str) -> list[str]:
    """Return the refs that exclude a ref: its parents and children by name."""
    parts = target.split("/")
    above = ["/".join(parts[:count]) for count in range(3, len(parts))]
    names = git.text(
        "for-each-ref", "--format=%(refname)", f"{target}/", *above, action="look for refs"
    )
    return [name for name in names.split("\n") if name.startswith(f"{target}/") or name in above]


def _drop_fetched(git: Git, targets: Sequence[str]) -> bool:
    """Remove the fetched refs that are in the way of others; tell whether there were any."""
    names = [
        name
        for target in targets
        if target.startswith((f"refs/remotes/{REMOTE}/", _TAGS))
        for name in in_the_way(git, target)
    ]
    for name in dict.fromkeys(names):
        git.run("update-ref", "--no-deref", "-d", name, action=f"remove {name}")
    return bool(names)


def fetch_branches(
    clone: Clone, wanted: Mapping[str, str], known: Mapping[str, str] | None = None
) -> list[str]:
    """Make sure that branches of the server are here, and return their commits.

    ``wanted`` are the commits that the server has named; ``known`` what ``commits_of`` said.

    Raises:
        GitError: they cannot be fetched.
    """
    tracking = {name: f"refs/remotes/{REMOTE}/{name}" for name in wanted}
    here = commits_of(clone.git, *tracking.values()) if known is None else known
    missing = [name for name, commit in wanted.items() if here.get(tracking[name]) != commit]
    if missing:
        fetch(
            clone.git,
            [f"+refs/heads/{name}:{tracking[name]}" for name in missing],
            action=f"fetch {' and '.join(missing)} from {clone.url}",
        )
        here = commits_of(clone.git, *tracking.values())
    return [here[ref] for ref in tracking.values()]


def commits_of(git: Git, *names: str) -> dict[str, str]:
    """Return the commits that refs name, by their full names; those that are not there are not."""
    listed = git.text(
        "for-each-ref", "--format=%(refname) %(objectname)", *names, action="look for refs"
    )
    found = dict(line.split(" ") for line in listed.splitlines())
    return {name: found[name] for name in names if name in found}


def is_ancestor(git: Git, older: str, newer: str) -> bool:
    """Return whether a commit is another one or its ancestor."""
    return git.holds("merge-base", "--is-ancestor", older, newer)


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
    local = f"{_TAGS}{name}"
    if clone.git.find("rev-parse", "--verify", "--quiet", local) != remote.tag(name):
        fetch(
            clone.git,
            [f"+refs/tags/{name}:{local}"],
            action=f"fetch the tag {name} from {clone.url}",
        )
    return clone.git.text(
        "rev-parse", "--verify", f"{local}^{{commit}}", action=f"find the commit of the tag {name}"
    )


def _bring_commit(clone: Clone, ref: str) -> str | None:
    """Look for a commit here, then ask the server for it, then for all that it has."""
    # Tags that moved at the server, and such as stand in each other's way, must not end it.
    everything = [f"+refs/heads/*:refs/remotes/{REMOTE}/*", f"+refs/tags/*:{_TAGS}*"]
    attempts = [[], ["--no-tags", REMOTE, ref], ["--no-tags", "--prune", REMOTE, *everything]]
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
