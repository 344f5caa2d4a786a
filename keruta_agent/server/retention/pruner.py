"""The pruning of what was kept long enough, a short transaction at a time.

What is due is looked for outside of any transaction, since that may take long; the transaction
looks again at what it is about to remove, under locks that a request for the same waits for. Of
several processes on PostgreSQL one prunes at a time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Collection, Iterator, Sequence
from typing import Any, Final

from keruta_agent.core import model
from keruta_agent.server.retention import coding
from keruta_agent.server.retention.policy import Limit, Policy
from keruta_agent.server.retention.pruned import Pruned
from keruta_agent.server.store import session_rows
from keruta_agent.server.store.artifacts import files as artifact_files
from keruta_agent.server.store.statements import statement
from keruta_agent.server.store.store import Change, Store

#: Rows of logs of one transaction at most: some twenty milliseconds on SQLite, where all writers
#: wait, and many times that on a busy machine.
LINES_AT_ONCE: Final = 2000
#: And at the least, however long they take.
_FEWEST_LINES: Final = 100
#: Seconds that a transaction is meant to take at most: those that come have fewer rows of logs
#: after one that took longer.
_TRANSACTION_S: Final = 0.05
#: Tasks, artifacts or sessions that one transaction looks at.
ROWS_AT_ONCE: Final = 100

#: Lets one of several processes on one PostgreSQL prune at a time; any number will do.
_PRUNE_LOCK: Final = 0x6B657272
_TRY_LOCK: Final = statement("SELECT pg_try_advisory_xact_lock(?)")

_OPEN_STATES: Final = ", ".join(f"'{each}'" for each in model.TaskStatus if not each.is_terminal)
_IS_OVER: Final = (
    "sessions.ended_at IS NOT NULL AND NOT EXISTS (SELECT 1 FROM tasks AS unfinished"  # noqa: S608
    f" WHERE unfinished.session_id = sessions.id AND unfinished.status IN ({_OPEN_STATES}))"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Removed:
    """Lines that were removed of tasks: how many, of which, and which may have more."""

    lines: int = 0
    touched: frozenset[int] = frozenset()
    unfinished: frozenset[int] = frozenset()


class OtherPrunesError(Exception):
    """Another process prunes just now."""


class Pruner:
    """The pruning of a store by a policy."""

    def __init__(self, store: Store, policy: Policy) -> None:
        self._store = store
        self._database = store.database
        self._policy = policy
        #: Rows of logs of the next transaction.
        self._lines = LINES_AT_ONCE
        kept = "sessions.pinned = 0"
        #: What the sessions are of which logs and artifacts go.
        self._may_lose = kept if policy.in_live_sessions else f"{kept} AND {_IS_OVER}"

    def steps(self) -> Iterator[Pruned]:
        """Prune what is due, a short transaction a step; yield what each has removed.

        Ends early where another process prunes.
        """
        try:
            yield from self._sessions()
            yield from self._logs()
            yield from self._artifacts()
            yield from self._coding()
        except OtherPrunesError:
            return

    def due(self) -> Pruned:
        """Count what is due, and what goes with it; this takes time for each row."""
        with self._database.connected():
            sessions = tasks = lines = artifacts = 0
            gone = "FALSE"
            if self._policy.sessions:
                before = self._end("sessions", self._policy.sessions)
                gone = (
                    f"tasks.session_id IN (SELECT id FROM sessions WHERE sessions.pinned = 0"  # noqa: S608
                    f" AND ended_at < {before} AND {_IS_OVER})"
                )
                sessions = self._number(
                    f"sessions WHERE pinned = 0 AND ended_at < {before} AND {_IS_OVER}"
                )
                tasks = self._number(f"tasks WHERE {gone}")
            lines = self._number(
                f"log_entries JOIN tasks ON tasks.number = task"
                f" WHERE {gone} OR {self._is_due(self._policy.logs)}"
            )
            artifacts = self._number(
                f"artifacts JOIN tasks ON tasks.number = task"
                f" WHERE {gone} OR {self._is_due(self._policy.artifacts)}"
            )
            limit = self._policy.coding
            ended = (
                0
                if limit is None
                else coding.count(self._database, self._end("coding_tasks", limit))
            )
        return Pruned(
            sessions=sessions,
            tasks=tasks,
            log_lines=lines,
            artifacts=artifacts,
            coding_tasks=ended,
        )

    def _is_due(self, limit: Limit | None) -> str:
        if limit is None:
            return "FALSE"
        return f"(tasks.ended_at < {self._end('tasks', limit)} AND {self._of_losing_session()})"

    def _number(self, what: str) -> int:
        found = self._database.run(statement(f"SELECT COUNT(*) FROM {what}")).fetchone()  # noqa: S608
        return int(found[0])

    def _end(self, table: str, limit: Limit) -> int:
        """Return the microseconds since 1970 before which what ended is not kept."""
        end = 0
        if limit.age_s is not None:
            end = self._database.now() - int(limit.age_s * 1_000_000)
        if limit.count is None:
            return end
        if limit.count == 0:
            return self._database.now()
        oldest_kept = self._database.run(
            statement(
                f"SELECT ended_at FROM {table} WHERE ended_at IS NOT NULL"  # noqa: S608
                " ORDER BY ended_at DESC LIMIT 1 OFFSET ?"
            ),
            limit.count - 1,
        ).fetchone()
        return end if oldest_kept is None else max(end, int(oldest_kept[0]))

    # Sessions: their logs first, then artifacts and tasks, and themselves last.

    def _sessions(self) -> Iterator[Pruned]:
        if self._policy.sessions is None:
            return
        with self._database.connected():
            end = self._end("sessions", self._policy.sessions)
        last = (0, 0)
        while True:
            with self._database.connected():
                due = self._rows(
                    "SELECT ended_at, number, id FROM sessions WHERE ended_at IS NOT NULL"  # noqa: S608
                    " AND ended_at < ? AND (ended_at, number) > (?, ?) AND sessions.pinned = 0"
                    f" AND {_IS_OVER} ORDER BY ended_at, number LIMIT ?",
                    end,
                    *last,
                    ROWS_AT_ONCE,
                )
            for ended_at, number, session_id in due:
                last = (ended_at, number)
                yield from self._session(session_id, end)
            if len(due) < ROWS_AT_ONCE:
                return

    def _session(self, session_id: str, end: int) -> Iterator[Pruned]:
        is_left = True
        while is_left:
            with self._writing() as change:
                condition = f"id = ? AND pinned = 0 AND ended_at < ? AND {_IS_OVER}"
                if not self._locked_sessions(condition, session_id, end):
                    return  # pinned, reopened or deleted meanwhile
                pruned, is_left = self._part_of_session(change, session_id)
            yield pruned

    def _part_of_session(self, change: Change, session_id: str) -> tuple[Pruned, bool]:
        rows = self._rows_locked(
            "SELECT number FROM tasks WHERE session_id = ? ORDER BY number LIMIT ?",
            "UPDATE",
            session_id,
            ROWS_AT_ONCE,
        )
        tasks = [number for (number,) in rows]
        if not tasks:
            if self._rows("SELECT 1 FROM tasks WHERE session_id = ? LIMIT 1", session_id):
                return Pruned(), False  # somebody has locked them; the next round is for them
            row = session_rows.find(change.tables, session_id)
            sessions = change.tables.sessions
            sessions.delete().where(sessions.id == session_id).execute()
            session_rows.announce(change, "session_deleted", row)
            return Pruned(sessions=1), False
        removed = self._remove_lines(tasks)
        pruned = Pruned(log_lines=removed.lines)
        artifacts: list[Any] = []
        if not removed.unfinished:
            artifacts = self._rows(
                f"SELECT number, id, task FROM artifacts WHERE task IN ({_marks(tasks)}) LIMIT ?",  # noqa: S608
                *tasks,
                ROWS_AT_ONCE,
            )
            self._remove_artifacts(change, artifacts)
            pruned += Pruned(artifacts=len(artifacts))
        if removed.unfinished or len(artifacts) == ROWS_AT_ONCE:
            # They stay for now, and perhaps for good: somebody may pin the session.
            self._note("log_pruned_at", removed.touched)
            self._note("artifacts_pruned_at", sorted({task for _, _, task in artifacts}))
            return pruned, True
        self._run(f"DELETE FROM tasks WHERE number IN ({_marks(tasks)})", *tasks)  # noqa: S608
        return pruned + Pruned(tasks=len(tasks)), True

    # Logs of ended tasks.

    def _logs(self) -> Iterator[Pruned]:
        if self._policy.logs is None:
            return
        with self._database.connected():
            end = self._end("tasks", self._policy.logs)
        last = (0, 0)
        while True:
            with self._database.connected():
                due = self._rows(
                    # In the words of the index on them.
                    "SELECT tasks.ended_at, tasks.number FROM tasks"  # noqa: S608
                    " WHERE tasks.ended_at IS NOT NULL AND tasks.log_kept = 1"
                    " AND tasks.ended_at < ? AND (tasks.ended_at, tasks.number) > (?, ?)"
                    f" AND {self._of_losing_session()}"
                    " ORDER BY tasks.ended_at, tasks.number LIMIT ?",
                    end,
                    *last,
                    ROWS_AT_ONCE,
                )
            if due:
                last = (due[-1][0], due[-1][1])
                yield from self._logs_of([number for _, number in due])
            if len(due) < ROWS_AT_ONCE:
                return

    def _logs_of(self, tasks: list[int]) -> Iterator[Pruned]:
        left = set(tasks)
        while left:
            with self._writing():
                found = self._locked_tasks(sorted(left))
                removed = self._remove_lines(found)
                finished = [task for task in found if task not in removed.unfinished]
                empty = [task for task in finished if task not in removed.touched]
                full = [task for task in finished if task in removed.touched]
                self._note("log_pruned_at", full, also="log_kept = 0, ")
                self._note("log_pruned_at", [*removed.touched & removed.unfinished])
                if empty:
                    self._run(
                        f"UPDATE tasks SET log_kept = 0 WHERE number IN ({_marks(empty)})",  # noqa: S608
                        *empty,
                    )
            # Those that are not found are somebody's just now; the next round is for them.
            left = set(removed.unfinished)
            yield Pruned(log_lines=removed.lines)

    def _remove_lines(self, tasks: Sequence[int]) -> _Removed:
        """Remove some lines of tasks, in the order of their numbers."""
        if not tasks:
            return _Removed()
        limit = self._lines
        some = (
            f"SELECT number FROM log_entries WHERE task IN ({_marks(tasks)})"  # noqa: S608
            " ORDER BY task, number LIMIT ?"
        )
        found = self._rows(
            f"SELECT task, COUNT(*) FROM log_entries WHERE number IN ({some}) GROUP BY task",  # noqa: S608
            *tasks,
            limit,
        )
        lines = sum(number for _, number in found)
        touched = frozenset(task for task, _ in found)
        if touched:
            self._run(
                f"DELETE FROM log_entries WHERE number IN ({some})",  # noqa: S608
                *tasks,
                limit,
            )
        # The last that was touched may have more.
        is_full = lines == limit
        unfinished = frozenset(task for task in tasks if task >= max(touched)) if is_full else ()
        return _Removed(lines=lines, touched=touched, unfinished=frozenset(unfinished))

    def _note(self, column: str, tasks: Collection[int], *, also: str = "") -> None:
        """Note at tasks that something of them was pruned."""
        if tasks:
            self._run(
                f"UPDATE tasks SET {also}{column} = ? WHERE number IN ({_marks(tasks)})",  # noqa: S608
                self._database.now(),
                *tasks,
            )

    # Artifacts of ended tasks.

    def _artifacts(self) -> Iterator[Pruned]:
        if self._policy.artifacts is None:
            return
        with self._database.connected():
            end = self._end("tasks", self._policy.artifacts)
        last = 0
        while True:
            with self._database.connected():
                due = self._rows(
                    "SELECT number, id, task FROM artifacts WHERE number > ? AND EXISTS"  # noqa: S608
                    " (SELECT 1 FROM tasks WHERE tasks.number = artifacts.task"
                    f" AND tasks.ended_at < ? AND {self._of_losing_session()})"
                    " ORDER BY number LIMIT ?",
                    last,
                    end,
                    ROWS_AT_ONCE,
                )
            if not due:
                return
            last = due[-1][0]
            with self._writing() as change:
                tasks = set(self._locked_tasks(sorted({task for _, _, task in due})))
                found = [row for row in due if row[2] in tasks]
                self._remove_artifacts(change, found)
                self._note("artifacts_pruned_at", sorted({task for _, _, task in found}))
            yield Pruned(artifacts=len(found))

    def _remove_artifacts(self, change: Change, rows: Sequence[Any]) -> None:
        if not rows:
            return
        numbers = [number for number, _, _ in rows]
        self._run(f"DELETE FROM artifacts WHERE number IN ({_marks(numbers)})", *numbers)  # noqa: S608
        artifact_files.remove(change, [artifact_id for _, artifact_id, _ in rows])

    # Coding tasks, with their attempts.

    def _coding(self) -> Iterator[Pruned]:
        if self._policy.coding is None:
            return
        with self._database.connected():
            end = self._end("coding_tasks", self._policy.coding)
        removed = ROWS_AT_ONCE
        while removed == ROWS_AT_ONCE:
            with self._writing():
                removed = coding.remove(self._database, end, ROWS_AT_ONCE)
            yield Pruned(coding_tasks=removed)

    # Locks: sessions before tasks, as requests do, and none that is waited for.

    def _of_losing_session(self) -> str:
        return (
            "EXISTS (SELECT 1 FROM sessions WHERE sessions.id = tasks.session_id"  # noqa: S608
            f" AND {self._may_lose})"
        )

    def _locked_sessions(self, condition: str, *values: Any) -> list[str]:
        """Return the sessions for which that holds, until the end of the transaction."""
        query = f"SELECT id FROM sessions WHERE {condition}"  # noqa: S608
        return [row[0] for row in self._rows_locked(query, "SHARE", *values)]

    def _locked_tasks(self, tasks: Sequence[int]) -> list[int]:
        """Return those of the ended tasks that may lose something, which nobody else changes."""
        of_tasks = f"(SELECT session_id FROM tasks WHERE number IN ({_marks(tasks)}))"  # noqa: S608
        sessions = self._locked_sessions(f"id IN {of_tasks} AND {self._may_lose}", *tasks)
        if not sessions:
            return []
        query = (
            f"SELECT number FROM tasks WHERE number IN ({_marks(tasks)})"  # noqa: S608
            f" AND session_id IN ({_marks(sessions)}) AND ended_at IS NOT NULL ORDER BY number"
        )
        return [row[0] for row in self._rows_locked(query, "UPDATE", *tasks, *sessions)]

    def _rows_locked(self, query: str, strength: str, *values: Any) -> list[Any]:
        locked = f"{query} FOR {strength} SKIP LOCKED"
        return list(self._database.run(statement(query, postgresql=locked), *values).fetchall())

    def _rows(self, query: str, *values: Any) -> list[Any]:
        return list(self._database.run(statement(query), *values).fetchall())

    def _run(self, text: str, *values: Any) -> None:
        self._database.run(statement(text), *values)

    @contextlib.contextmanager
    def _writing(self) -> Iterator[Change]:
        """Make the block one transaction of the one process that prunes."""
        with self._store.writing() as change:
            # Others wait from here on.
            begun_at = time.monotonic()
            if self._database.postgresql:
                is_ours = self._database.run(_TRY_LOCK, _PRUNE_LOCK).fetchone()[0]
                if not is_ours:
                    raise OtherPrunesError
            yield change
        self._lines = _adapted(self._lines, time.monotonic() - begun_at)


def _adapted(lines: int, took_s: float) -> int:
    """Return how many rows of logs the transaction after one of so many may remove."""
    if took_s > _TRANSACTION_S:
        wanted = int(lines * max(_TRANSACTION_S / took_s, 0.25))
    elif took_s < _TRANSACTION_S / 2:
        wanted = lines + lines // 4
    else:
        wanted = lines
    return min(max(wanted, _FEWEST_LINES), LINES_AT_ONCE)


def _marks(values: Collection[object]) -> str:
    return ", ".join("?" * len(values))
