"""The parts of a commit: what is staged, its tree, and who it is by."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from keruta_agent.git.command import Git, Say, is_true

#: Trailer of a commit that says for which task it was made.
TASK_TRAILER: Final = "Keruta-Task"
#: Trailer of a commit of the Agent Runner: which task asked for it, in which words.
RUNNER_TRAILER: Final = "Runner-Task"
#: Which attempt of a pool made a commit.
ATTEMPT_TRAILER: Final = "Runner-Attempt"
#: What git takes off the ends of a name (``crud`` in its ident.c): nothing may be left of it.
_NO_NAME: Final = "".join(map(chr, range(33))) + ".,:;<>\"\\'"
_FALLBACK: Final = {"name": "keruta-agent", "email": "keruta-agent@localhost"}


def stage(git: Git, nested: Iterable[str] = (), *, only_known: bool = False) -> None:
    """Stage everything but the repositories inside of this one, and what is ignored.

    With ``only_known`` new files are left out as well.

    Raises:
        GitError: a file cannot be read.
    """
    which = "--update" if only_known else "--all"
    git.run("add", which, "--", ":/", *excluding(nested), action="stage the changes")


def excluding(nested: Iterable[str]) -> list[str]:
    """Return the patterns that leave out repositories inside of this one."""
    return [f":(exclude,top,literal){path}" for path in nested]


def write_tree(git: Git) -> str:
    """Store what is staged as a tree, and return it."""
    return git.text("write-tree", action="store what is staged")


def empty_tree(git: Git) -> str:
    """Store a tree without files, and return it."""
    return git.text("hash-object", "-t", "tree", "-w", "--stdin", action="make an empty tree")


def signing(git: Git, say: Say, *, is_wanted: bool) -> Git:
    """Return git that signs commits, where that is wanted."""
    if is_wanted:
        return git.with_settings(("commit.gpgSign", "true"))
    # The last one is the agent's own.
    if any(map(is_true, git.settings("commit.gpgsign")[-2:-1])):
        say("does not sign commits, as git is set up to: git.sign is off")
    return git


def commit_tree(
    git: Git, tree: str, parents: Iterable[str], message: str, *, signs: bool = False
) -> str:
    """Store a commit that no branch has yet, and return it."""
    options = [option for parent in parents for option in ("-p", parent)]
    if signs:  # which no setting says to this command
        options.append("-S")
    return (
        signed_by_somebody(git)
        .run(
            *("commit-tree", tree, *options, "-F", "-"),
            stdin=f"{message.strip()}\n".encode("utf-8", "surrogateescape"),
            action="make a commit",
        )
        .text
    )


def fallback_identity(git: Git) -> dict[str, str]:
    """Return variables for an author and a committer, where nothing else names them.

    Git refuses a commit when a name is empty, or nothing but punctuation.
    """
    known = git.settings_like(r"^(user|author|committer)\.(name|email)$")
    return {
        variable: fallback
        for role in ("author", "committer")
        for what, fallback in _FALLBACK.items()
        if not _is_name(git.variable(variable := f"GIT_{role}_{what}".upper()))
        and not _is_name(known.get(f"{role}.{what}", known.get(f"user.{what}")))
    }


def _is_name(text: str | None) -> bool:
    return bool(text and text.strip(_NO_NAME))


def signed_by_somebody(git: Git) -> Git:
    """Return git that can commit, also without a configured user."""
    return git.with_variables(fallback_identity(git))
