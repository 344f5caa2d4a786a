"""The outline of a repository in a prompt: its files, and what the most relevant ones define.

Both are bounded in tokens, and in what is read for them. What is left out is counted.
"""

from __future__ import annotations

import collections
from collections.abc import Collection, Sequence
from pathlib import PurePosixPath
from typing import Final

from keruta_agent.runner.changes import files
from keruta_agent.runner.changes.permission import PermissionValidator
from keruta_agent.runner.changes.tree import Tree
from keruta_agent.runner.exploration import relevance, symbols
from keruta_agent.runner.model.reply import estimated_tokens

#: Files that are read to list what they define, characters of them in all, and definitions of one
#: file that are listed.
_MOST_FILES: Final = 150
_MOST_READ: Final = 1_000_000
_MOST_SYMBOLS: Final = 40
#: How many times as much as has room is looked at, to choose from.
_CHOICE: Final = 3
#: Share of a list of files, where not all have room, that is for the relevant ones.
_RELEVANT_SHARE: Final = 0.6


def structure(names: Sequence[str], ranked: Sequence[str], tokens: int) -> str:
    """Return a list of files: all, or the relevant ones and a count for each directory."""
    whole = "\n".join(names)
    if estimated_tokens(whole) <= tokens:
        return whole or "(empty)"
    counts: collections.Counter[str] = collections.Counter()
    for name in names:
        counts.update(f"{parent}/" for parent in PurePosixPath(name).parents if parent.name)
    shown = _fitting(ranked, int(_RELEVANT_SHARE * tokens))
    by_depth = sorted(counts, key=lambda directory: (directory.count("/"), directory))
    lines = [f"{directory} ({counts[directory]} files)" for directory in by_depth]
    left = tokens - estimated_tokens("\n".join(shown))
    directories = _fitting(lines, left - 40)
    heading = f"{len(names)} files in all. The most relevant, then directories:"
    return "\n".join([heading, *sorted(shown), "", *sorted(directories)])


def definitions(
    ranked: Sequence[str],
    tree: Tree,
    permissions: PermissionValidator,
    *,
    wanted: Collection[str],
    tokens: int,
) -> str:
    """Return what files define, the relevant ones first; empty where there is nothing to tell.

    ``wanted`` are the words of the task.
    """
    found: list[tuple[int, int, str]] = []
    read, room = 0, _CHOICE * tokens
    programs = [path for path in ranked if symbols.has_symbols(path)]
    for place, path in enumerate(programs[:_MOST_FILES]):
        text = files.read(path, tree, permissions) if read < _MOST_READ and room > 0 else None
        if text is None:
            continue
        read += len(text)
        known = symbols.of(path, text)
        hits = {symbol for symbol in known if relevance.score(symbol.text, wanted)}
        if known:
            block = _block(path, _chosen(known, hits))
            room -= estimated_tokens(block)
            found.append((-min(len(hits), 3), place, block))
    return "\n".join(_fitting([block for _, _, block in sorted(found)], tokens))


def _chosen(known: list[symbols.Symbol], hits: Collection[symbols.Symbol]) -> list[symbols.Symbol]:
    if len(known) <= _MOST_SYMBOLS:
        return known
    by_relevance = sorted(known, key=lambda symbol: (symbol not in hits, symbol.depth, symbol.line))
    return sorted(by_relevance[:_MOST_SYMBOLS], key=lambda symbol: symbol.line)


def _block(path: str, chosen: list[symbols.Symbol]) -> str:
    lines = (f"{symbol.line:>5} {'  ' * symbol.depth}{symbol.text}" for symbol in chosen)
    return "\n".join([path, *lines])


def _fitting(parts: Sequence[str], tokens: int) -> list[str]:
    """Return the first parts that have room together; one that is too long is passed over."""
    kept = []
    for part in parts:
        cost = estimated_tokens(part) + 1
        if cost <= tokens:
            kept.append(part)
            tokens -= cost
    return kept
