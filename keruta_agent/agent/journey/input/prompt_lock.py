"""What the follower of a script and the ways to answer it share: one lock, one notice."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Protocol


class PromptWatcher(Protocol):
    """The watcher of the run whose prompts are answered."""

    def answered(self) -> None:
        """Take note that the script was given an answer."""
        ...


class PromptLock:
    """The lock that keeps a look at a script and an answer to it from happening at once."""

    def __init__(self) -> None:
        #: Held while a run is looked at, and while a script is answered.
        self.lock = threading.RLock()
        #: Set when a prompt appeared, or somebody may have answered one.
        self.changed = threading.Event()
        self._watcher: PromptWatcher | None = None

    @contextlib.contextmanager
    def watched_by(self, watcher: PromptWatcher) -> Iterator[None]:
        """Tell a watcher of every answer while the block runs."""
        self._watcher = watcher
        try:
            yield
        finally:
            with self.lock:
                self._watcher = None

    def note_answer(self) -> None:
        """Tell the watcher that the script was answered."""
        if self._watcher is not None:
            self._watcher.answered()
