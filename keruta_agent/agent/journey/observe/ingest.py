"""The way of a run's files into the records: its output, and the messages that the script sends.

New pieces and the messages in them are stored in one transaction: what was stored is never read
again, what was not is read by whoever comes next.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import sqlite3
import time
from collections.abc import Sequence
from typing import Final

from keruta_agent.agent.journey.artifacts import added
from keruta_agent.agent.journey.context import RunContext
from keruta_agent.agent.journey.observe.loglimit import LogLimit
from keruta_agent.agent.run import messages, output
from keruta_agent.core import errors

logger = logging.getLogger(__name__)

#: Pieces of output that are stored at once: between them the script's time limit is looked at.
MOST_PIECES: Final = 256


def catch_up(ctx: RunContext, *, final: bool = False) -> None:
    """Store what was written before or after the script; with ``final`` also unfinished lines.

    Raises:
        RunError: the files cannot be read.
    """
    with contextlib.closing(Ingester(ctx)) as ingester:
        ingester.store_new(final=final)


class Ingester:
    """The reader of one run's files; it stores what is new."""

    def __init__(self, ctx: RunContext) -> None:
        """Open the files.

        Raises:
            RunError: they cannot be read.
        """
        self._ctx = ctx
        self._directory = ctx.directory
        self._open()

    def _open(self) -> None:
        run = self._ctx.run
        self._limit = LogLimit(self._ctx)
        try:
            self._output = output.OutputFiles(
                self._directory.path,
                self._ctx.records.runs.offsets(run.id),
                piece_bytes=self._limit.piece_bytes,
            )
        except OSError as exc:
            raise errors.RunError(f"cannot read the output of run {run.uid}: {exc}") from exc

    def close(self) -> None:
        """Close the files."""
        self._output.close()

    def store_new(self, *, final: bool = False) -> bool:
        """Store what is new, all of it with ``final``; return whether there was anything."""
        found = self._store_some(final=final)
        while final and self._store_some(final=final):
            pass
        return found

    def _store_some(self, *, final: bool) -> bool:
        pieces = list(itertools.islice(self._output.new_pieces(final=final), MOST_PIECES))
        if not pieces:
            return False
        try:
            self._store(pieces, final=final)
        except (OSError, sqlite3.Error):
            self.close()
            self._open()  # where the records say: what could not be stored is read again
            raise
        self._ctx.agent.queue.outbox_filled()
        return True

    def _store(self, pieces: Sequence[output.Piece], *, final: bool) -> None:
        ctx = self._ctx
        with ctx.records.database.transaction(durable=False):
            withheld = {
                index: lines
                for index, piece in enumerate(pieces)
                if (lines := self._limit.withheld_lines(piece, final=final)) is not None
            }
            ctx.records.runs.add_ranges(ctx.job, ctx.run, pieces, time.time(), withheld)
            for stream, start, stop in pieces:
                if stream == "agent":
                    for line in output.read_lines(self._directory.agent, start, stop):
                        self._handle(line)

    def _handle(self, line: str) -> None:
        """Store the messages that the script sent."""
        ctx = self._ctx
        try:
            message = messages.parse(line)
            if isinstance(message, messages.ArtifactMessage):
                added.take_in(ctx, message)
        except ValueError as exc:
            logger.warning(
                "run %s: ignores a message from the script: %s",
                ctx.run.uid,
                exc,
                extra={"action": "message_unreadable", "run": ctx.run.uid},
            )
            return
        redact = ctx.redactor.redact
        if isinstance(message, messages.ProgressMessage):
            ctx.records.runs.report_progress(
                ctx.job, ctx.run, message.percent, redact(message.message)
            )
        elif isinstance(message, messages.EndMessage):
            ctx.records.runs.report_end(
                ctx.run.id,
                message.status,
                message=redact(message.message),
                error_code=message.error_code,
                wants_auto_fix=message.auto_fix,
                artifacts_dir=message.artifacts_dir,
            )
