"""Whether a server can take requests: for what distributes them to several of them.

A server that is ready answers in a bounded time, however long its database or its store of files
takes, and is not about to stop.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Final

from keruta_agent.server.routes import Context
from keruta_agent.server.store.statements import statement
from keruta_agent.server.store.store import Store

#: Seconds for a look at everything.
TIMEOUT_S: Final = 3.0

_ANYTHING: Final = statement("SELECT 1")
#: Fails if what it looks at does not work.
Check = Callable[[], object]


class Readiness:
    """What a server needs, and whether it is stopping."""

    def __init__(self, checks: Mapping[str, Check]) -> None:
        """Take a check of each thing that is needed, by what it is called in a sentence."""
        self._checks = checks
        self._is_stopping = False
        self._lock = threading.Lock()
        #: The look under way, for all who ask meanwhile; or the last one.
        self._look: Future[str | None] | None = None
        #: What is being looked at.
        self._looked_at = ""

    def stop(self) -> None:
        """Be ready no more."""
        self._is_stopping = True

    def obstacle(self) -> str | None:
        """Return why the server is not ready; None if it is."""
        if self._is_stopping:
            return "the server is stopping"
        try:
            return self._current_look().result(TIMEOUT_S)
        except TimeoutError:
            return f"{self._looked_at} has not answered for {TIMEOUT_S:.0f} seconds"

    def _current_look(self) -> Future[str | None]:
        with self._lock:
            if self._look is None or self._look.done():
                self._look = Future()
                # A daemon: what hangs must not hold up the end of the process.
                threading.Thread(
                    target=self._check_all,
                    args=(self._look,),
                    name="server-readiness",
                    daemon=True,
                ).start()
            return self._look

    def _check_all(self, look: Future[str | None]) -> None:
        for name, check in self._checks.items():
            self._looked_at = name
            try:
                check()
            except Exception as exc:  # whatever it is, the server cannot work like this
                look.set_result(f"{name} does not answer: {type(exc).__name__}")
                return
        look.set_result(None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class ApiContext(Context):
    """What the views of the keruta API work with."""

    readiness: Readiness


def api_context(store: Store) -> ApiContext:
    """Return what the views work with, over a store that is needed."""
    return ApiContext(store=store, readiness=readiness_of(store))


def readiness_of(store: Store) -> Readiness:
    """Return whether requests can be taken that need a store."""

    def check_database() -> None:
        with store.database.connected():
            store.database.run(_ANYTHING).fetchone()

    return Readiness({"the database": check_database, "the artifact store": store.artifacts.check})
