"""Mirrors: bare copies of repositories on this machine that clones are made from."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from keruta_agent.core import file_trees
from keruta_agent.git.command import Git, Say
from keruta_agent.git.problems import NOT_LOCAL, GitError
from keruta_agent.git.repository import maintenance
from keruta_agent.git.repository.directory import locked
from keruta_agent.git.url import REMOTE, RepositoryUrl

#: In a mirror that was fetched to its end once.
NOTE: Final = "keruta-mirror"


def fetch(git: Git, url: RepositoryUrl, mirrors: Path, say: Say) -> None:
    """Bring a mirror up to date and take its objects: other clones fetched them already.

    They are copied. A clone that only refers to them would break with the mirror. A mirror that is
    broken is made anew: all that it holds is the server's.
    """
    mirror = mirrors / f"{url.name}-{url.digest}.git"
    file_trees.make_usable(mirror)
    if not file_trees.is_directory(mirror):
        file_trees.remove(mirror)
    mirror.mkdir(mode=0o700, parents=True, exist_ok=True)
    with locked(mirror, git.timeout_s):
        try:
            _take(git, url, mirror, say)
        except (GitError, OSError) as exc:
            if isinstance(exc, GitError) and exc.problem in NOT_LOCAL:
                raise
            say(f"makes the mirror {mirror} anew: {exc}")
            file_trees.remove(mirror / NOTE)
            _take(git, url, mirror, say)


def _take(git: Git, url: RepositoryUrl, mirror: Path, say: Say) -> None:
    maintenance.remove_locks(mirror)
    at_mirror = git.at_bare(mirror)
    if not (mirror / NOTE).exists():
        for left in mirror.iterdir():
            file_trees.remove(left)
        at_mirror.run("init", "--quiet", "--bare", action=f"make the mirror {mirror}")
        at_mirror.run("remote", "add", REMOTE, url.address, action="note the address")
    say(f"brings the mirror {mirror} up to date")
    at_mirror.run(
        *("fetch", "--quiet", "--prune", REMOTE, "+refs/heads/*:refs/heads/*"),
        "+refs/tags/*:refs/tags/*",
        action=f"fetch {url} into the mirror {mirror}",
    )
    (mirror / NOTE).touch()
    git.run(
        *("fetch", "--quiet", "--no-tags", str(mirror)),
        f"+refs/heads/*:refs/remotes/{REMOTE}/*",
        action=f"take what the mirror {mirror} holds",
    )
