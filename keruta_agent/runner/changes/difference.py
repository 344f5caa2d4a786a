"""The difference that a model has made, as git would show it, from what the files held."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import NamedTuple

from keruta_agent.runner.changes import texts


class Change(NamedTuple):
    """What a file held, and what it holds; None where it is not there."""

    before: bytes | None
    after: bytes | None
    mode: int = 0o644


def unified(changes: Mapping[PurePosixPath, Change]) -> str:
    """Return a diff of all files that are not as they were, new and deleted ones included."""
    return "".join(
        line
        for path in sorted(changes)
        if changes[path].before != changes[path].after
        for line in _of_file(path, changes[path])
    )


def _of_file(path: PurePosixPath, change: Change) -> Iterator[str]:
    before, after, mode = change
    yield f"diff --git a/{path} b/{path}\n"
    kind = "new" if before is None else "deleted" if after is None else None
    if kind is not None:
        yield f"{kind} file mode {'100755' if mode & 0o100 else '100644'}\n"
    try:
        old, new = (texts.decode(data or b"").text for data in (before, after))
    except texts.NotTextError:
        yield f"Binary files a/{path} and b/{path} differ\n"
        return
    lines = difflib.unified_diff(
        *(_lines(old), _lines(new)),
        fromfile="/dev/null" if before is None else f"a/{path}",
        tofile="/dev/null" if after is None else f"b/{path}",
    )
    for line in lines:
        yield line if line.endswith("\n") else f"{line}\n\\ No newline at end of file\n"


def _lines(text: str) -> list[str]:
    parts = text.split("\n")
    return [f"{part}\n" for part in parts[:-1]] + ([parts[-1]] if parts[-1] else [])
