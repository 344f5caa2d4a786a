"""The changes of an answer: all of them are checked before the first is written.

A change that does not fit to what is there refuses the whole answer. Files are replaced in one
step each, and when one cannot be, those before it get back what they held.
"""

from __future__ import annotations

import dataclasses
import stat
from collections.abc import Collection, Mapping, Sequence
from pathlib import PurePosixPath
from typing import Final

from keruta_agent.core import errors
from keruta_agent.core.coding.model import CodeChange
from keruta_agent.runner.changes import patch, texts
from keruta_agent.runner.changes.permission import PermissionValidator
from keruta_agent.runner.changes.tree import Tree

#: Bytes that a file may have which is changed, and that an answer may write in all.
LARGEST_FILE: Final = 4 * 1024 * 1024
LARGEST_ANSWER: Final = 16 * 1024 * 1024


class EditError(errors.ImplementationError):
    """An answer does not fit to the files that are there."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step:
    """One file before and after; None where it is not there. ``mode`` is the one to have."""

    path: PurePosixPath
    before: bytes | None
    after: bytes | None
    mode: int = 0o644


def plan(
    changes: Sequence[CodeChange],
    tree: Tree,
    permissions: PermissionValidator,
    *,
    masked: Collection[str] = (),
) -> list[Step]:
    """Return what the changes come to; nothing is written.

    ``masked`` are files that the model has not seen as they are: they are edited, not rewritten.

    Raises:
        SecurityError: a change would leave the workspace, or touch what is not to be touched.
        EditError: a change does not fit.
    """
    steps: dict[PurePosixPath, Step] = {}
    for number, change in enumerate(changes, 1):
        path = permissions.location(_plain(change.file_path), change.operation)
        where = f"Change {number} ({change.operation} of {change.file_path})"
        if change.operation == "modify" and str(path) in masked:
            raise EditError(
                f"{where} would lose what was masked in it: use the operation edit instead"
            )
        known = steps.get(path)
        if known is not None and change.operation != "edit":
            raise EditError(f"{where} comes after another change of the same file")
        try:
            steps[path] = _step(change, path, known or _found(tree, path))
        except (patch.PatchError, texts.NotTextError) as error:
            raise EditError(f"{where} cannot be applied: {error}") from None
    _check(steps)
    changed = [step for step in steps.values() if step.before != step.after]
    removed = [step for step in changed if step.after is None]
    return [_with_mode(step, removed) for step in changed]


def _plain(path: str) -> str:
    """Return a path without the parts that mean nothing: ``./a`` is ``a``."""
    parts = path.split("/")
    return "/".join(part for part in parts if part != ".") if parts[-1] != "." else path


def _with_mode(step: Step, removed: Sequence[Step]) -> Step:
    """Return a step with the mode that its file is to have.

    A new file that takes the place of a removed one, by its text or else by its name, is that file
    moved; and any other that names its interpreter is there to be started.
    """
    if step.before is not None or step.after is None:
        return step
    alike = [other for other in removed if other.before == step.after] or [
        other for other in removed if other.path.name == step.path.name
    ]
    if alike:
        return dataclasses.replace(step, mode=alike[0].mode)
    return dataclasses.replace(step, mode=0o755 if step.after.startswith(b"#!") else step.mode)


def apply(steps: Sequence[Step], tree: Tree) -> None:
    """Write what was planned, all of it or nothing.

    Everything is on the disk beside its place before the first file is replaced, so that a full
    disk is noticed in time.

    Raises:
        EditError: something else has changed a file since, or it cannot be written.
    """
    staged: dict[PurePosixPath, str] = {}
    done: list[Step] = []
    try:
        for step in steps:
            if step.after is not None:
                staged[step.path] = tree.stage(step.path, step.after, step.mode)
        for step in steps:
            if tree.read(step.path, LARGEST_FILE) != step.before:
                raise EditError(f"{step.path} has been changed by something else meanwhile")
            done.append(step)
            _put(step.path, staged.get(step.path), tree)
    except BaseException as error:
        try:
            _undo(done, staged, tree)
        except OSError as second:
            raise EditError(
                f"The changes cannot be written, nor be taken back: {second.strerror}",
                advice="Clean the workspace before it is used again",
            ) from error
        if isinstance(error, OSError):
            raise EditError(f"The changes cannot be written: {error.strerror}") from error
        raise


def _put(path: PurePosixPath, staged: str | None, tree: Tree) -> None:
    if staged is None:
        tree.remove(path)
    else:
        tree.put(path, staged)


def _undo(done: Sequence[Step], staged: Mapping[PurePosixPath, str], tree: Tree) -> None:
    for step in reversed(done):
        again = None
        if step.before is not None:
            again = tree.stage(step.path, step.before, step.mode)
        _put(step.path, again, tree)
    for path, name in staged.items():
        tree.remove(path.with_name(name))
    tree.remove_made_directories()


def _found(tree: Tree, path: PurePosixPath) -> Step:
    try:
        data = tree.read(path, LARGEST_FILE)
        mode = 0o644 if data is None else stat.S_IMODE(tree.mode(path))
    except OSError as error:
        raise errors.SecurityError(f"{str(path)!r} is not allowed: {error.strerror}") from None
    return Step(path=path, before=data, after=data, mode=mode)


def _step(change: CodeChange, path: PurePosixPath, known: Step) -> Step:
    return dataclasses.replace(known, after=_after(change, known.after))


def _after(change: CodeChange, data: bytes | None) -> bytes | None:
    """Return what a file is to hold."""
    if change.operation == "create":
        if data is not None:
            raise patch.PatchError("the file is there already: use modify or edit")
        return texts.FileText(text="").changed(change.content)
    if data is None:
        raise patch.PatchError("there is no such file")
    if change.operation == "delete":
        return None
    current = texts.decode(data)
    if change.operation == "modify":
        return current.changed(current.with_own_line_ends(change.content))
    if change.operation == "edit":
        return current.changed(patch.replaced(current.text, patch.passages(change.content)))
    raise patch.PatchError("there is no such operation")


def _check(steps: dict[PurePosixPath, Step]) -> None:
    total = sum(len(step.after or b"") for step in steps.values())
    if total > LARGEST_ANSWER or any(
        len(step.after or b"") > LARGEST_FILE for step in steps.values()
    ):
        raise EditError("The answer writes more than a run may")
    for path in steps:
        above = next((parent for parent in path.parents if parent in steps), None)
        if above is not None:
            raise EditError(f"{above} cannot be a file and a directory: {path} lies below it")
