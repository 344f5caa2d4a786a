"""The detector of scripts that wait for input: seen at the kernel, not guessed.

A script waits when one of its processes is blocked on the run's standard input, nothing lies
there unread, and two looks in a row saw the same while nothing was written in between. That finds
a shell's ``read``, ``input()``, a pager's ``poll``, through pipes and in nested programs, and none
that is merely silent.

Where the kernel does not tell (another user's program such as sudo, /proc of a sandbox, another
processor, and under yama's usual restriction a run that this daemon did not start itself), it is
guessed: silence for ``GUESS_S`` after an unfinished line that looks like a prompt.
"""

from __future__ import annotations

import dataclasses
import platform
import time
from typing import Final

from keruta_agent.agent.run.directory import ProcessId, RunDirectory
from keruta_agent.agent.run.input import prompt, syscalls
from keruta_agent.agent.run.input.blocked import Reader, UntellableError, find_reader
from keruta_agent.agent.run.input.source import Source, look_at_fifo, look_at_terminal
from keruta_agent.agent.run.resources.descendants import Descendants

#: Seconds between looks at a script that does not seem to wait.
LOOK_INTERVAL_S: Final = 0.5
#: Seconds between the look that suspects a wait and the one that confirms it.
CONFIRM_S: Final = 0.15
#: Seconds that must lie between the two for the second to count.
APART_S: Final = 0.1
#: Seconds of silence after which a line that looks like a prompt is taken for one.
GUESS_S: Final = 2.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Waiting:
    """A script waits for an answer."""

    #: The last line that it wrote, empty when it wrote none.
    prompt: str
    #: Whether the answer must not be shown or kept.
    secret: bool
    #: The process that waits.
    pid: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Sighting:
    """What a look saw that may be a wait."""

    pid: int
    sizes: tuple[int, ...]
    seen_at: float


class InputDetector:
    """The detector of one run's waits for input."""

    def __init__(self, directory: RunDirectory, shim: ProcessId) -> None:
        self._directory = directory
        self._shim = shim
        self._descendants = Descendants(shim.pid)
        self._output = prompt.OutputEnd(directory.path)
        self._table = syscalls.TABLES.get(platform.machine())
        self._sighting: _Sighting | None = None
        self._waiting: Waiting | None = None
        self._silent_sizes: tuple[int, ...] = ()
        self._silent_since = 0.0

    @property
    def interval_s(self) -> float:
        """Seconds until the next look is due."""
        return CONFIRM_S if self.suspects and self._waiting is None else LOOK_INTERVAL_S

    @property
    def suspects(self) -> bool:
        """Whether the last look saw what may be a wait."""
        return self._sighting is not None

    def forget(self) -> None:
        """Start anew: call it when the script was answered, so that it must be seen again."""
        self._sighting = self._waiting = None

    def look(self) -> Waiting | None:
        """Return what the script waits for, None when it does not, or is not known to yet."""
        sizes = self._output.sizes()
        pid = self._blocked(sizes)
        if pid is None:
            self.forget()
            return None
        before, now = self._sighting, time.monotonic()
        if before is None or (before.pid, before.sizes) != (pid, sizes):
            self._sighting = _Sighting(pid=pid, sizes=sizes, seen_at=now)
            self._waiting = None
        elif self._waiting is None and now - before.seen_at >= APART_S:
            self._output.question_at(sizes)
            text, _ = self._output.prompt()
            source = self._source()
            secret = prompt.is_secret(text) or (source is not None and source.hides_keys)
            self._waiting = Waiting(prompt=text, secret=secret, pid=pid)
        return self._waiting

    def _blocked(self, sizes: tuple[int, ...]) -> int | None:
        """Return the process that seems to wait for an answer."""
        source = self._source()
        if source is None:
            return None
        try:
            reader = self._reader(source)
        except UntellableError:
            return self._guess(sizes)
        if reader is None or (reader.waits_for_others and not self._output.prompt()[1]):
            return None
        return reader.pid

    def _source(self) -> Source | None:
        """Return where an answer would be read from; None when nobody could, or one lies there."""
        fifo = look_at_fifo(self._directory.stdin)
        if fifo is None or fifo.has_unread or not self._directory.terminal.exists():
            return None if fifo is None or fifo.has_unread else fifo
        terminal = look_at_terminal(self._directory.terminal)
        return None if terminal is None or terminal.has_unread else terminal

    def _reader(self, source: Source) -> Reader | None:
        if self._table is None:
            raise UntellableError
        return find_reader(self._descendants.find(), source.is_open_as, self._table)

    def _guess(self, sizes: tuple[int, ...]) -> int | None:
        """Guess whether the script waits, by its silence and its last line."""
        now = time.monotonic()
        if sizes != self._silent_sizes:
            self._silent_sizes, self._silent_since = sizes, now
        if now - self._silent_since < GUESS_S:
            return None
        text, unfinished = self._output.prompt()
        return self._shim.pid if unfinished and prompt.is_shaped(text) else None
