"""The desk at which questions are asked and answered: what the follower and the doors share."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Protocol


class Attendant(Protocol):
    """Who watches the run whose questions are answered."""

    def answered(self) -> None:
        """Says that the script was given an answer."""
        ...


class Desk:
    """Keeps a look at a script and an answer to it from happening at once."""

    def __init__(self) -> None:
        #: Held while a run is looked at, and while a script is answered.
        self.lock = threading.RLock()
        #: Set when something was asked, or somebody may have answered.
        self.news = threading.Event()
        self._attendant: Attendant | None = None

    @contextlib.contextmanager
    def attended(self, attendant: Attendant) -> Iterator[None]:
        """Lets somebody attend to the run that is followed now."""
        self._attendant = attendant
        try:
            yield
        finally:
            with self.lock:
                self._attendant = None

    def note_answer(self) -> None:
        """Tells who attends that the script was answered."""
        if self._attendant is not None:
            self._attendant.answered()
