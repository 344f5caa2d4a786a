"""Whom an event of the agent's own log is about, where the code that logs it cannot know.

What is logged while a run is brought to its end carries the ids of its job, task and run, however
deep inside it is said. The ids belong to the thread that does the work.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from typing import Final

_ABOUT: Final[ContextVar[Mapping[str, object]]] = ContextVar("about", default={})  # noqa: B039 - never changed


@contextlib.contextmanager
def about(**ids: object) -> Iterator[None]:
    """Give these ids to everything that this thread logs inside the block."""
    known = {name: value for name, value in ids.items() if value is not None}
    token = _ABOUT.set({**_ABOUT.get(), **known})
    try:
        yield
    finally:
        _ABOUT.reset(token)


class AddIds(logging.Filter):
    """A filter that adds the ids to a record without them, and keeps every record."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Return that the record is to be kept."""
        for name, value in _ABOUT.get().items():
            if not hasattr(record, name):
                setattr(record, name, value)
        return True
