"""The limit to what a run may send of its output: the beginning at once, the last part at the end.

What is between is withheld until the run has ended: only then is it known what the last part is.
Nothing is left out in silence: an entry at its place says how many bytes and lines are missing.
The run directory, and with it ``keruta logs``, has everything. What a script says with
``keruta log`` is never withheld.
"""

from __future__ import annotations

from typing import Final

from keruta_agent.agent.journey.context import RunContext
from keruta_agent.agent.run import output
from keruta_agent.agent.store.outbox import Kind
from keruta_agent.agent.store.withheld import WithheldLog, WithheldRange
from keruta_agent.core.units import format_size

#: A limit is kept to this part of it: pieces are taken or left as a whole.
FINENESS: Final = 16
SMALLEST_PIECE: Final = 1024


class LogLimit:
    """The decision for each piece of one run's output whether it may leave now."""

    def __init__(self, ctx: RunContext) -> None:
        self._ctx = ctx
        self._most = 0 if ctx.job.task_id is None else ctx.settings.log_run_limit
        log = WithheldLog(ctx.records.database)
        self._sent = log.sent_bytes(ctx.run.id) if self._most else 0
        self._is_reached = bool(self._most) and log.has_any(ctx.run.id)

    @property
    def piece_bytes(self) -> int:
        """How long a piece may be."""
        if not self._most:
            return output.PIECE_BYTES
        return max(SMALLEST_PIECE, min(output.PIECE_BYTES, self._most // FINENESS))

    def withheld_lines(self, piece: output.Piece, *, final: bool) -> int | None:
        """Return how many lines a piece has that must wait; None when it may leave."""
        stream, start, stop = piece
        if not self._most or stream == "agent":
            return None
        if not self._is_reached and self._sent + stop - start <= self._most // 2:
            self._sent += stop - start
            return None
        if not self._is_reached:
            self._is_reached = True
            self._announce()
        data = output.read_bytes(self._ctx.directory.path / stream, start, stop)
        return data.count(b"\n") + (final and not data.endswith(b"\n"))

    def _announce(self) -> None:
        _say(
            self._ctx,
            f"The output reaches its limit, {format_size(self._most)} (logging.run_limit): "
            "what follows waits, and its last part comes when the run has ended",
            {},
            key=f"{self._ctx.run.uid}-log-limit",
        )


def release(ctx: RunContext) -> None:
    """Queue the last part of what was withheld, behind an entry that says what is left out."""
    run = ctx.run
    log = WithheldLog(ctx.records.database)
    withheld = log.ranges(run.id)
    if not withheld or ctx.job.task_id is None:
        return
    budget = ctx.settings.log_run_limit - log.sent_bytes(run.id)
    first = _first_of_tail(withheld, budget)
    omitted, sent = withheld[:first], withheld[first:]
    if omitted:
        size, lines = sum(piece.size for piece in omitted), sum(piece.lines for piece in omitted)
        _say(
            ctx,
            f"{size} bytes in {lines} lines are left out here (logging.run_limit); "
            "the machine that the run was on has them, see `keruta logs`",
            {"omittedBytes": size, "omittedLines": lines},
            key=f"{run.uid}-log-omitted",
        )
    for piece in sent:
        ctx.records.outbox.add_log_range(
            ctx.job.task_id, run.id, run.uid, piece.sequence, piece.size
        )
    log.release(run.id, from_sequence=sent[0].sequence if sent else None)


def _first_of_tail(withheld: list[WithheldRange], budget: int) -> int:
    first = len(withheld)
    while first and withheld[first - 1].size <= budget:
        first -= 1
        budget -= withheld[first].size
    return first


def _say(ctx: RunContext, text: str, about: dict[str, int], *, key: str) -> None:
    if ctx.job.task_id is None:
        return
    line = {
        "level": "WARN",
        "message": text,
        "source": "agent",
        "metadata": {"keruta": about} if about else {},
    }
    ctx.records.outbox.add(Kind.LOG_LINE, ctx.job.task_id, line, run_id=ctx.run.id, key=key)
