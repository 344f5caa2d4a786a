"""The files of a workspace that a model may be shown, and which of them it needs."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path, PurePosixPath
from typing import Final

from keruta_agent.core import errors, file_trees
from keruta_agent.git.command import Git, records
from keruta_agent.runner.changes import texts
from keruta_agent.runner.changes.permission import PermissionValidator
from keruta_agent.runner.changes.tree import TooLargeError, Tree

#: Bytes above which a file is not shown.
LARGEST: Final = 1024 * 1024
#: Files that are looked at at all.
MOST: Final = 20_000
_LIST_S: Final = 30.0

#: Hidden without git's help: nobody wrote what is in them by hand.
_MADE: Final = frozenset({"node_modules", "__pycache__", "venv", "dist", "build", "target"})
#: Their contents are secrets, whatever they look like.
_SECRET: Final = re.compile(
    r"\.env(?!\.(?:example|sample|template)$)(?:\..*)?|.*\.(?:pem|key|p12|pfx|jks|keystore|kdbx)"
    r"|id_(?:rsa|dsa|ecdsa|ed25519)|\.(?:netrc|npmrc|pypirc|pgpass|htpasswd|git-credentials)"
    r"|credentials(?:\.json)?|service[-_]account.*\.json|\.?secrets?\.(?:ya?ml|json|toml|ini)",
    re.I,
)
#: Nobody reads them, and they are long.
_GENERATED: Final = re.compile(
    r".*\.(?:lock|min\.js|min\.css|map|svg|csv|ipynb)|package-lock\.json|pnpm-lock\.yaml|go\.sum",
    re.I,
)
_WORD: Final = re.compile(r"[\w./@$\[\]-]+")


class NotShownError(ValueError):
    """A file cannot or must not be shown; the text says why."""


def listed(root: Path) -> list[str]:
    """Return the files that git knows or would add, without what it ignores."""
    git = Git(root, timeout_s=_LIST_S)
    try:
        found = git.run(
            *("ls-files", "-z", "--cached", "--others", "--exclude-standard"),
            action="list the files",
        )
    except errors.WorkspaceError:
        return sorted(_walked(root))[:MOST]
    names = {name for name in records(found.output) if name and not name.endswith("/")}
    return sorted(names)[:MOST]


def ignored(root: Path, paths: Collection[str]) -> list[str]:
    """Return which of these files git would not commit."""
    if not paths:
        return []
    given = "\0".join(paths).encode("utf-8", "surrogateescape")
    found = Git(root, timeout_s=_LIST_S).run(
        "check-ignore", "-z", "--stdin", action="ask what is ignored", stdin=given, ok=False
    )
    return [name for name in records(found.output) if name]


def _walked(root: Path) -> Iterator[str]:
    for folder, inner, names in file_trees.walk(root):
        inner[:] = [name for name in inner if not name.startswith(".") and name not in _MADE]
        for name in names:
            yield (Path(folder) / name).relative_to(root).as_posix()


def is_secret(path: str) -> bool:
    """Return whether a file is not shown because of its name."""
    return bool(_SECRET.fullmatch(PurePosixPath(path).name))


def is_generated(path: str) -> bool:
    """Return whether nobody writes or reads a file by hand."""
    return bool(_GENERATED.fullmatch(PurePosixPath(path).name))


def read(path: str, tree: Tree, permissions: PermissionValidator) -> str | None:
    """Return the text of a file, None when it cannot or must not be shown."""
    try:
        return readable(path, tree, permissions)
    except (errors.SecurityError, NotShownError):
        return None


def readable(path: str, tree: Tree, permissions: PermissionValidator) -> str:
    """Return the text of a file.

    Raises:
        SecurityError: the path leads out of the workspace, or to git's own files.
        NotShownError: it is a file of secrets, no text, too large, or not there.
    """
    if is_secret(path):
        raise NotShownError(f"{path} is not shown: its name says that it holds secrets")
    try:
        data = tree.read(permissions.location(path), LARGEST)
        if data is not None:
            return texts.decode(data).text
    except TooLargeError:
        raise NotShownError(f"{path} is not shown: it has more than {LARGEST} bytes") from None
    except (OSError, texts.NotTextError):
        raise NotShownError(f"{path} is not shown: it is no text file") from None
    raise NotShownError(f"there is no file {path}")


def plain(path: str) -> str:
    """Return a path without the parts that mean nothing: ``./a/`` is ``a``, ``.`` is empty."""
    return "/".join(part for part in path.rstrip("/").split("/") if part != ".")


def named(paths: Iterable[str], names: Collection[str], root: Path) -> list[str]:
    """Return what a task's list of files means here: files, and those below directories."""
    found: list[str] = []
    for given in paths:
        path = _relative(given, root)
        below = [name for name in names if name.startswith(f"{path}/")]
        found += below or [path]
    return found


def _relative(given: str, root: Path) -> str:
    path = Path(given)
    if path.is_absolute() and path.is_relative_to(root):
        path = path.relative_to(root)
    return path.as_posix()


def mentioned(text: str, names: Collection[str]) -> list[str]:
    """Return the files that a text speaks of, by their path or by a name that is theirs alone."""
    endings = {
        ending for word in set(_WORD.findall(text)) for ending in _endings(word.rstrip(".,"))
    }
    by_name: dict[str, list[str]] = {}
    for name in names:
        by_name.setdefault(PurePosixPath(name).name, []).append(name)
    alone = {paths[0] for name, paths in by_name.items() if len(paths) == 1 and name in endings}
    return [name for name in names if name in endings or name in alone]


def _endings(word: str) -> Iterator[str]:
    parts = word.split("/")
    for number in range(len(parts)):
        yield "/".join(parts[number:])
