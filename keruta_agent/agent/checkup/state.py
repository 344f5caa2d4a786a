"""Checks of the agent's own state: its directory, lock, databases, socket and outbox."""

from __future__ import annotations

import os
import shutil
import sqlite3
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from keruta_agent.agent.checkup.finding import Finding, attempt, ok, problem, room, warning
from keruta_agent.agent.control.commands import Status
from keruta_agent.agent.control.socket import client
from keruta_agent.agent.control.socket.address import socket_path
from keruta_agent.agent.daemon import lock
from keruta_agent.agent.store.sqlite.database import BEGIN_ANEW, DATABASE_NAME, written_by
from keruta_agent.agent.store.sqlite.migrations import MIGRATIONS
from keruta_agent.core import errors, migrations
from keruta_agent.core.settings.schema import Settings
from keruta_agent.core.units import format_duration

#: Free bytes below which a script with much output, or an artifact, may find no room.
LITTLE_ROOM: Final = 1024**3
#: Name of Huey's file; the queueing package itself is not loaded for a look.
QUEUE_NAME: Final = "queue.db"
#: What is done with a directory in which files are found, and in which one is made.
_ALL: Final = os.R_OK | os.W_OK | os.X_OK
_MAKE: Final = os.W_OK | os.X_OK


def check_state(settings: Settings) -> Iterator[Finding]:
    """Yield what is found in and around the base directory; change nothing."""
    base_dir = settings.base_dir
    yield from attempt("base directory", lambda: [_base_directory(base_dir)])
    yield from attempt(
        "artifacts directory", lambda: [_artifacts_directory(settings.artifacts_dir)]
    )
    yield from attempt("disk", lambda: [check_room("disk", base_dir, settings)])
    yield from attempt(
        "disk for artifacts",
        lambda: [check_room("disk for artifacts", settings.artifacts_dir, settings)],
    )
    if not os.access(base_dir, os.R_OK | os.X_OK):
        return
    yield from attempt("lock", lambda: [_lock(base_dir, _lock_holder(base_dir))])
    yield from attempt("socket", lambda: [_socket(base_dir)])
    yield from attempt("agent.db", lambda: _agent_database(settings))
    yield from attempt("queue.db", lambda: [_queue_database(base_dir / QUEUE_NAME)])


def _base_directory(base_dir: Path) -> Finding:
    advice = "Give it to this user (chown), or choose another one with KERUTA_BASE_DIR"
    subject = "base directory"
    try:
        status = base_dir.stat()
    except FileNotFoundError:
        parent = _existing(base_dir)
        if os.access(parent, os.W_OK | os.X_OK):
            return ok(subject, f"{base_dir} is not there yet; it is made at the first start")
        return problem(subject, f"{base_dir} cannot be made: {parent} is not ours", advice)
    except OSError as exc:
        return problem(subject, f"{base_dir} cannot be read: {exc.strerror}", advice)
    if not stat.S_ISDIR(status.st_mode):
        return problem(subject, f"{base_dir} is no directory", advice)
    if status.st_uid != os.geteuid():
        return problem(subject, f"{base_dir} belongs to another user", advice)
    if not os.access(base_dir, os.R_OK | os.W_OK | os.X_OK):
        return problem(subject, f"{base_dir} cannot be written", f"Run: chmod 700 {base_dir}")
    mode = stat.S_IMODE(status.st_mode)
    if mode & 0o077:
        return warning(
            subject, f"others may enter {base_dir} ({mode:04o})", f"Run: chmod 700 {base_dir}"
        )
    return ok(subject, f"{base_dir} is private ({mode:04o})")


def _artifacts_directory(directory: Path) -> Finding:
    subject = "artifacts directory"
    existing = _existing(directory)
    if existing == directory and directory.is_dir() and os.access(directory, _ALL):
        return ok(subject, str(directory))
    if existing != directory and existing.is_dir() and os.access(existing, _MAKE):
        return ok(subject, f"{directory} is not there yet; it is made when a task starts")
    return warning(
        subject,
        f"{directory} cannot be read and written",
        "Make it writable or set KERUTA_ARTIFACTS_DIR; until then artifacts are looked for in "
        ".keruta/doc below the working directory",
    )


def check_room(subject: str, path: Path, settings: Settings) -> Finding:
    """Return how much room the disk of a path has; the path itself may be missing yet."""
    existing = _existing(path)
    try:
        free = shutil.disk_usage(existing).free
    except OSError as exc:
        return warning(subject, f"{existing} cannot be looked at: {exc.strerror}", "Check the disk")
    text = f"{room(free)} free at {existing}"
    if free < settings.health_disk_free_min:
        least = room(settings.health_disk_free_min)
        return problem(
            subject, f"{text}, less than {least}", "Make room: runs fail when there is none"
        )
    if free < LITTLE_ROOM:
        return warning(subject, text, "Make room, or lower KERUTA_RUNS_KEEP_SIZE")
    return ok(subject, text)


def _lock_holder(base_dir: Path) -> int | None:
    """Return the pid of the agent that holds the lock; 0 when it is unknown."""
    if not lock.is_held(base_dir):
        return None
    return lock.holder(base_dir) or 0


def _lock(base_dir: Path, holder: int | None) -> Finding:
    if holder is not None:
        who = f"process {holder}" if holder else "a process that does not say who it is"
        return ok("lock", f"held by {who}: an agent runs here")
    left = lock.holder(base_dir)
    if left is not None:
        return ok("lock", f"free; process {left}, the last agent, did not end in order")
    return ok("lock", "free: no agent runs here")


def _socket(base_dir: Path) -> Finding:
    try:
        answer = client.ask(base_dir, Status())
    except errors.KerutaError as exc:
        if lock.is_held(base_dir):
            return problem(
                "socket", str(exc.message), "Look at the daemon's log; if it hangs, start it anew"
            )
        return ok("socket", "no daemon answers, as none runs")
    session = answer.get("session") or "not known yet"
    running = answer.get("running")
    doing = "nothing runs" if running is None else f"job {running} runs"
    return ok("socket", f"{socket_path(base_dir)} answers: session {session}, {doing}")


def _agent_database(settings: Settings) -> Iterator[Finding]:
    path = settings.base_dir / DATABASE_NAME
    if not path.exists():
        yield ok("agent.db", "is not there yet; it is made at the first start")
        return
    try:
        connection = open_for_reading(path)
        try:
            said = _last_line(connection.execute("PRAGMA quick_check(1)").fetchone()[0])
            version = int(connection.execute("PRAGMA user_version").fetchone()[0])
            yield _schema(said, version, path, written_by(connection))
            yield check_outbox(connection, settings.health_outbox_age_max_s)
        finally:
            connection.close()
    except sqlite3.Error as exc:
        yield problem("agent.db", f"cannot be read: {exc}", "Restore it, or move it away")


def _last_line(said: str) -> str:
    """Return the problem without the name of the database, which stands in a line above."""
    return said.splitlines()[-1]


def _schema(said: str, version: int, path: Path, writer: str | None) -> Finding:
    if said != "ok":
        return problem("agent.db", f"is damaged: {said}", "Restore it from a copy, or move it away")
    text = f"whole, schema version {version}"
    if version > len(MIGRATIONS):
        refusal = migrations.newer_schema(f"{path}", writer, otherwise=BEGIN_ANEW)
        return problem("agent.db", f"{text}: {refusal.message}", refusal.advice)
    if version < len(MIGRATIONS):
        return ok("agent.db", f"{text}; the next start brings it to {len(MIGRATIONS)}")
    return ok("agent.db", text)


def check_outbox(connection: sqlite3.Connection, longest_wait_s: float) -> Finding:
    """Return what waits for the API; a problem when the oldest has waited for too long."""
    found = connection.execute(
        "SELECT coalesce(sum(state = 'pending'), 0), coalesce(sum(state = 'parked'), 0), "
        "min(CASE WHEN state = 'pending' THEN created_at END) FROM outbox"
    ).fetchone()
    pending, parked, oldest = int(found[0]), int(found[1]), found[2]
    age_s = 0.0 if oldest is None else max(0.0, time.time() - float(oldest))
    text = f"{pending} waiting"
    if pending:
        text += f", the oldest for {format_duration(round(age_s))}"
    text += f"; {parked} set aside"
    if age_s > longest_wait_s:
        return problem("outbox", text, "Check that a daemon runs and that the API answers")
    if parked:
        return warning("outbox", text, "See what and why: keruta queue list --all, keruta explain")
    return ok("outbox", text)


def _queue_database(path: Path) -> Finding:
    if not path.exists():
        return ok("queue.db", "is not there yet; it is made at the first start")
    try:
        connection = open_for_reading(path)
        try:
            number = connection.execute("SELECT count(*) FROM task").fetchone()[0]
        finally:
            connection.close()
    except sqlite3.Error as exc:
        return warning(
            "queue.db",
            f"cannot be read: {exc}",
            "Nothing to do: the next start makes it anew, no job is lost",
        )
    return ok("queue.db", f"readable, {number} messages")


def open_for_reading(path: Path) -> sqlite3.Connection:
    """Return a connection that can change nothing."""
    return sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=5.0)


def _existing(path: Path) -> Path:
    """Return a path, or what can be seen of it."""
    # Not Path.exists(), which fails where a directory above may not be entered.
    while not os.access(path, os.F_OK) and path != path.parent:
        path = path.parent
    return path
