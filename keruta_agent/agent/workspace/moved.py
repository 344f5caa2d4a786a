"""Clones and repositories that were moved aside, because git could neither use nor repair them.

Each stays beside where it was, under a name of its own, with a note about it: there a move is one
rename, which a kill leaves either undone or done, and which works for directories of other users
too. They are bounded in number and size. One with commits that nobody else has is never removed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import re
import secrets
import shlex
import shutil
import time
from pathlib import Path
from typing import Any, Final

from keruta_agent.core import atomic_file, errors, file_trees

#: Between a clone's name and when it was moved.
_MARK: Final = ".moved-"
_STAMP: Final = r"\d{8}-\d{6}-[0-9a-f]{6}"
_NOTE: Final = ".json"
#: Moved clones that are kept for a look at them.
MOST_KEPT: Final = 3
#: Bytes that all of them together may take.
MOST_BYTES: Final = 5 * 1024**3
#: Moved clones that must not or cannot be removed, and their bytes, until a person has to come.
MOST_HELD: Final = 20
MOST_HELD_BYTES: Final = 4 * MOST_BYTES
#: Refs that are named of one clone.
_MOST_NAMED: Final = 20
_MOUNTS: Final = Path("/proc/self/mountinfo")
_OCTAL: Final = re.compile(r"\\([0-7]{3})")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Moved:
    """Something that was moved aside."""

    #: Where it is now.
    directory: Path
    #: Where it was.
    origin: str
    reason: str
    #: Whether its commits were compared with those of the clone that took its place.
    is_compared: bool = False
    #: Refs with commits that no other clone here and no server has; what may not be removed.
    held: tuple[str, ...] = ()

    @property
    def is_removable(self) -> bool:
        """Whether it can be removed without loss; unknown without a comparison."""
        return self.is_compared and not self.held

    def to_json(self) -> dict[str, Any]:
        """Return the sentence about it for a person."""
        return {
            "path": str(self.directory),
            "origin": self.origin,
            "reason": self.reason,
            "held": list(self.held),
            "removable": self.is_removable,
        }


def move_aside(path: Path, reason: str, *, beside: Path | None = None) -> Moved:
    """Move a clone aside, next to its place or next to another directory.

    Raises:
        WorkspaceError: it cannot be moved; the advice is the command that helps.
    """
    neighbour = beside or path
    mounts = mounts_in(path)
    if mounts:
        raise errors.WorkspaceError(
            f"cannot move {path} aside: {mounts[0]} is a mount point ({reason})",
            advice=f"Empty it: find {shlex.quote(str(path))} -xdev -mindepth 1 -delete",
        )
    _check_room(path, reason, neighbour)
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    moved = Moved(
        directory=neighbour.with_name(f"{neighbour.name}{_MARK}{stamp}-{secrets.token_hex(3)}"),
        origin=str(path),
        reason=reason,
    )
    try:
        _write(moved)
        if path.parent != moved.directory.parent:
            # To move a directory to another one takes write permission on itself.
            file_trees.make_usable(path)
        path.rename(moved.directory)
    except OSError as exc:
        with contextlib.suppress(OSError):
            _note_of(moved.directory).unlink(missing_ok=True)
        raise errors.WorkspaceError(
            f"cannot move {path} aside: {exc.strerror} ({reason})",
            advice=f"Move it: sudo mv {shlex.quote(str(path))} "
            f"{shlex.quote(f'{neighbour}.broken')}",
        ) from exc
    return moved


def _check_room(path: Path, reason: str, neighbour: Path) -> None:
    """Make sure that what was moved before leaves room for one more.

    Raises:
        WorkspaceError: it does not; the advice is the command that helps.
    """
    prune(neighbour)
    kept = all_beside(neighbour)
    size = sum(file_trees.disk_usage(moved.directory) for moved in kept)
    if len(kept) < MOST_HELD and size < MOST_HELD_BYTES:
        return
    raise errors.WorkspaceError(
        f"cannot move {path} aside: {len(kept)} that were moved before, {size // 2**20} MiB, hold "
        f"commits that no server has, or files of other users ({reason})",
        advice="See keruta workspace status, take what you need, and remove them: "
        f"sudo rm -rf {shlex.quote(f'{neighbour}{_MARK}')}*",
    )


def all_beside(directory: Path) -> list[Moved]:
    """Return what was moved aside from a directory, the oldest first."""
    return [_read(place) for place in _places(directory)]


def note_compared(moved: Moved, held: tuple[str, ...]) -> Moved:
    """Store which commits only this clone has.

    Raises:
        OSError: it cannot be stored.
    """
    compared = dataclasses.replace(moved, is_compared=True, held=held[:_MOST_NAMED])
    _write(compared)
    return compared


def make_room(moved: Moved) -> list[str]:
    """Remove what holds nothing where a clone as large as the one just moved has no room."""
    free = shutil.disk_usage(moved.directory.parent).free
    if free >= file_trees.disk_usage(moved.directory):
        return []
    return prune(Path(moved.origin), most_kept=0)


def prune(directory: Path, *, most_kept: int | None = None) -> list[str]:
    """Remove what goes beyond the bounds and holds nothing; return what was done, in words."""
    done: list[str] = []
    left: list[str] = []
    kept = size = 0
    most_kept = MOST_KEPT if most_kept is None else most_kept
    for moved in reversed(all_beside(directory)):
        size += file_trees.disk_usage(moved.directory)
        kept += 1
        if (kept <= most_kept and size <= MOST_BYTES) or not moved.is_removable:
            continue
        try:
            if not mounts_in(moved.directory):
                file_trees.remove(moved.directory)
                done.append(f"removed {moved.directory}, which was moved aside and held nothing")
        except OSError:  # another user's files: the rest of it is gone
            left.append(shlex.quote(str(moved.directory)))
    if left:
        done.append(
            f"cannot remove all of {len(left)} clones that were moved aside, as files in them are "
            f"another user's; sudo rm -rf {' '.join(left)}"
        )
    _remove_lone_notes(directory)
    return done


def _remove_lone_notes(directory: Path) -> None:
    """Remove notes about what is gone, or was never moved because the agent was killed."""
    note = re.compile(re.escape(f"{directory.name}{_MARK}") + f"({_STAMP})" + re.escape(_NOTE))
    for path in _beside(directory):
        found = note.match(path.name)
        if found and not os.path.lexists(directory.with_name(f"{directory.name}{_MARK}{found[1]}")):
            with contextlib.suppress(OSError):
                path.unlink()


def mounts_in(directory: Path) -> list[Path]:
    """Return the mount points at or below a directory."""
    if directory.is_symlink():
        return []
    place = str(directory.resolve())
    try:
        lines = _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError:  # a system that tells it otherwise
        return [directory] if directory.is_mount() else []
    points = (_OCTAL.sub(lambda found: chr(int(found[1], 8)), line.split(" ")[4]) for line in lines)
    return [Path(point) for point in points if f"{point}/".startswith(f"{place}/")]


def _places(directory: Path) -> list[Path]:
    pattern = re.compile(re.escape(f"{directory.name}{_MARK}") + _STAMP)
    return [path for path in _beside(directory) if pattern.fullmatch(path.name)]


def _beside(directory: Path) -> list[Path]:
    try:
        return sorted(directory.parent.iterdir())
    except OSError:
        return []


def _note_of(directory: Path) -> Path:
    return directory.with_name(f"{directory.name}{_NOTE}")


def _read(directory: Path) -> Moved:
    unknown = Moved(directory=directory, origin="", reason="unknown: its note is gone")
    try:
        found = json.loads(_note_of(directory).read_text(encoding="utf-8"))
        return Moved(
            directory=directory,
            origin=str(found["origin"]),
            reason=str(found["reason"]),
            is_compared=found["is_compared"] is True,
            held=tuple(map(str, found["held"])),
        )
    except (OSError, ValueError, TypeError, LookupError):
        return unknown


def _write(moved: Moved) -> None:
    values = {**dataclasses.asdict(moved), "directory": str(moved.directory)}
    atomic_file.write(_note_of(moved.directory), json.dumps(values).encode())
