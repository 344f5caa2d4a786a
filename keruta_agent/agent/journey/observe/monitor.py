"""The watch over a run while the agent itself works for it, with git or a hook.

No script is followed then, so somebody must store what is added to the run's log, and notice that
somebody wants the job to stop.
"""

from __future__ import annotations

import logging
import time
from typing import Final

from keruta_agent.agent.journey.context import RunContext
from keruta_agent.agent.journey.observe import ingest
from keruta_agent.agent.store.jobs import StopKind
from keruta_agent.core import errors

logger = logging.getLogger(__name__)

#: Seconds between looks at what a program wrote.
LOOK_S: Final = 0.5


class ProgramMonitor:
    """The watch over one run while programs of the agent's work for it."""

    def __init__(self, ctx: RunContext, *, heeded: StopKind | None = None) -> None:
        """Take the run, and the kind of stop that it has ended by: that stops nothing more."""
        self._ctx = ctx
        self._heeded = heeded
        self._stored_at = 0.0

    def stop_reason(self) -> str | None:
        """Return why a program is to stop, None while it may go on; store what it wrote."""
        if time.monotonic() - self._stored_at >= LOOK_S:
            self.store_log(final=False)
        self._ctx.refresh()
        kind = self._ctx.job.stop_kind
        if kind is None or kind is self._heeded:
            return None
        return self._ctx.job.stop_reason or str(kind)

    def store_log(self, *, final: bool = True) -> None:
        """Store what is new in the run's log; with ``final`` also a line without an end."""
        self._stored_at = time.monotonic()
        try:
            ingest.catch_up(self._ctx, final=final)
        except errors.RunError as exc:
            logger.warning(
                "cannot read the log of job %d: %s",
                self._ctx.job.id,
                exc,
                extra={"action": "section_unread", "job": self._ctx.job.id},
            )
