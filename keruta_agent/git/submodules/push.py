"""Pushes of what a task committed in submodules, before the branch that points at it.

A pointer to a commit that nobody else can get makes a branch that nobody can check out. What the
submodule's server has is asked of the server: refs in the workspace are a task's to write.
"""

from __future__ import annotations

import dataclasses
import os
import posixpath
import re
from collections.abc import Iterable
from typing import Final

from keruta_agent.core import errors
from keruta_agent.git import lfs, scan, url
from keruta_agent.git.clone import Clone
from keruta_agent.git.command import Git, Say
from keruta_agent.git.problems import error_from
from keruta_agent.git.scan import GITLINK, Change, Limits, RefusedError
from keruta_agent.git.submodules import work_trees as submodules
from keruta_agent.git.submodules.work_trees import DEEPEST, Submodule
from keruta_agent.git.url import REMOTE

#: What a submodule's server has, while it is asked; removed afterwards.
_SEEN: Final = "refs/keruta/server"
#: Addresses of submodules are the repository's words, not the user's.
_VARIABLES: Final = {"GIT_PROTOCOL_FROM_USER": "0"}
_PARENT: Final = re.compile(r"(.*?)(?:/|(?<=:))[^/:]+/*", re.DOTALL)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Delivery:
    """How submodules are pushed."""

    branch: str
    limits: Limits
    say: Say


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Pin:
    path: str
    commit: str


def push_pinned(clone: Clone, commit: str, changes: Iterable[Change], delivery: Delivery) -> None:
    """See to it that servers have the submodules' commits that a branch points at.

    ``changes`` are those of the commits that are to be pushed.

    Raises:
        RefusedError: one would point at a commit that nobody else can get.
        WorkspaceError: a server cannot be asked, or does not take one.
    """
    _push_pinned(clone, commit, changes, delivery, clone.url.address, 0)


def check_pinned(clone: Clone, commit: str, changes: Iterable[Change]) -> None:
    """Make sure that servers have the submodules' commits that a branch points at; push nothing.

    Raises:
        RefusedError: it points at a commit that nobody else can get.
        WorkspaceError: a server cannot be asked.
    """
    pins = _new_pins(changes)
    if not pins:
        return
    declared = submodules.declared(clone.git, commit)
    final = submodules.pinned(clone.git, commit, list(dict.fromkeys(pin.path for pin in pins)))
    for pin in pins:
        if final.get(pin.path) != pin.commit:
            continue
        one = declared.get(pin.path)
        if one is None:
            raise _undeclared(pin)
        address = _address(clone.url.address, one)
        if not _server_gives(clone.git, address, pin.commit):
            raise _out_of_reach(pin, address)


def _push_pinned(
    clone: Clone, commit: str, changes: Iterable[Change], delivery: Delivery, base: str, depth: int
) -> None:
    pins = _new_pins(changes)
    if not pins:
        return
    if depth == DEEPEST:
        raise RefusedError(f"its submodules are more than {DEEPEST} levels deep")
    declared = submodules.declared(clone.git, commit)
    final = submodules.pinned(clone.git, commit, list(dict.fromkeys(pin.path for pin in pins)))
    inner = {one.directory: one for one in submodules.present(clone)}
    for pin in pins:
        is_final = final.get(pin.path) == pin.commit
        one = declared.get(pin.path)
        if one is None:
            if is_final:
                raise _undeclared(pin)
            continue
        address = _address(base, one)
        found = inner.get(clone.directory / pin.path)
        if found is None or not _has(found.git, pin.commit):
            # What a commit in between points at, and is gone by now, was never to be kept.
            if is_final and not _server_gives(clone.git, address, pin.commit):
                raise _out_of_reach(pin, address)
            continue
        _deliver(found, pin, address, delivery, depth)


def _new_pins(changes: Iterable[Change]) -> list[_Pin]:
    """Return each pointer that changes have set, the newest first."""
    return [_Pin(path=one.path, commit=one.new) for one in changes if one.mode == GITLINK]


def _deliver(inner: Clone, pin: _Pin, address: str, delivery: Delivery, depth: int) -> None:
    git = inner.git.with_variables(_VARIABLES)
    if pin.commit in _tips(git, address, pin):
        return
    try:
        git.run(
            *("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--", address),
            f"+refs/heads/*:{_SEEN}/heads/*",
            f"+refs/tags/*:{_SEEN}/tags/*",
            action=f"ask the server of the submodule {pin.path} what it has",
        )
        known = f"--glob={_SEEN}"
        left = git.text(
            *("rev-list", "--max-count=1", pin.commit, "--not", known),
            action=f"compare the submodule {pin.path} with its server",
        )
        if not left:
            return
        changes = scan.new_changes(git, pin.commit, known)
        _push_pinned(inner, pin.commit, changes, delivery, address, depth + 1)
        scan.check(git, delivery.limits, changes)
        lfs.push(inner, address, pin.commit)
        _push(git, pin, address, delivery)
    finally:
        _forget(git)


def _push(git: Git, pin: _Pin, address: str, delivery: Delivery) -> None:
    """Push one commit; to a separate branch where an earlier run's is in the way."""
    action = f"push the submodule {pin.path} to {url.without_secrets(address)}"
    for branch in (delivery.branch, f"{delivery.branch}-{pin.commit[:12]}"):
        result = git.run(
            *("push", "--quiet", "--porcelain", "--", address),
            f"{pin.commit}:refs/heads/{branch}",
            action=action,
            ok=False,
        )
        if result.code == 0:
            seen = f"refs/remotes/{REMOTE}/{branch}"
            git.run("update-ref", seen, pin.commit, action="note what was pushed")
            delivery.say(f"pushed {pin.commit[:12]} of the submodule {pin.path} to its {branch}")
            return
        if not any(line.startswith("!") for line in result.text.splitlines()):
            break
    failed = error_from(action, f"{result.complaints}\n{result.text}")
    raise RefusedError(
        f"{failed.message}; without its commit {pin.commit[:12]} nobody could check the branch out",
        advice=failed.advice
        or "Give the agent access to the submodule's server, or push there in the script",
    )


def _tips(git: Git, address: str, pin: _Pin) -> frozenset[str]:
    answer = git.text(
        *("ls-remote", "--quiet", "--", address),
        action=f"ask the server of the submodule {pin.path}",
    )
    return frozenset(line.partition("\t")[0] for line in answer.splitlines())


def _server_gives(git: Git, address: str, commit: str) -> bool:
    """Return whether a server has a commit that the workspace has not."""
    git = git.with_variables(_VARIABLES)
    if not _has(git, commit):
        try:
            return git.holds(
                *("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--depth=1"),
                *("--", address, f"{commit}:{_SEEN}/asked"),
            )
        finally:
            _forget(git)
    # Git would not ask for what it has.
    listed = git.find("ls-remote", "--quiet", "--", address) or ""
    return any(line.startswith(commit) for line in listed.splitlines())


def _forget(git: Git) -> None:
    names = git.find("for-each-ref", "--format=delete %(refname)", _SEEN)
    if names:
        git.run(
            *("update-ref", "--no-deref", "--stdin"),
            stdin=os.fsencode(f"{names}\n"),
            action="forget what a server has",
            ok=False,
        )


def _has(git: Git, commit: str) -> bool:
    return git.holds("cat-file", "-e", f"{commit}^{{commit}}")


def _address(base: str, one: Submodule) -> str:
    """Return where a submodule is.

    Raises:
        RefusedError: nobody but this machine could say.
    """
    address = resolve(base, one.url)
    is_local = address.startswith(("/", "file:"))
    if is_local and not base.startswith(("/", "file:")):
        raise RefusedError(
            f"the submodule {one.path} is at {address}, on this machine only",
            advice="Give .gitmodules an address that others can reach",
        )
    try:
        return url.parse(address).address
    except errors.WorkspaceError as exc:
        raise RefusedError(f"the submodule {one.path}: {exc.message}", advice=exc.advice) from None


def resolve(base: str, address: str) -> str:
    """Return an address that ``.gitmodules`` may give relative to the superproject's."""
    if not re.match(r"\.\.?(/|$)", address):
        return address
    parts = posixpath.normpath(address).split("/")
    base = base.rstrip("/")
    while parts and parts[0] == "..":
        parts.pop(0)
        found = _PARENT.fullmatch(base)
        if found is None:
            break
        base = found[1]
    rest = "/".join(part for part in parts if part != ".")
    joint = "" if not rest or base.endswith(":") else "/"
    return f"{base}{joint}{rest}"


def _undeclared(pin: _Pin) -> RefusedError:
    return RefusedError(
        f"{pin.path} was committed as a repository of its own that .gitmodules does not name: "
        "nobody could check it out",
        advice=f"Add it with git submodule add, or take it out: git rm --cached {pin.path}",
    )


def _out_of_reach(pin: _Pin, address: str) -> RefusedError:
    return RefusedError(
        f"the submodule {pin.path} points at {pin.commit}, which "
        f"{url.without_secrets(address)} does not have",
        advice="Push that commit there, or point the submodule at one that is there",
    )
