"""One agent of a soak: a base directory, and the daemon that is killed and started in it."""

from __future__ import annotations

import contextlib
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from keruta_agent.agent.daemon.lock import PID_NAME
from keruta_agent.agent.store.remembered.identity import ID_NAME
from keruta_agent.agent.store.sqlite.database import DATABASE_NAME

READY: Final = b" is ready, "
TAKEOVER: Final = b"takes over the session "

#: Starts keruta with these words, in a base directory, with its output in a log.
Spawn = Callable[[Sequence[str], Path, Path], "subprocess.Popen[bytes]"]


class Daemon:
    """An agent's daemon, which may run or not."""

    def __init__(self, base_dir: Path, log: Path, spawn: Spawn) -> None:
        self.base_dir = base_dir
        self.log = log
        self._spawn = spawn
        self._process: subprocess.Popen[bytes] | None = None
        self._log_start = 0
        #: How often it was started.
        self.starts = 0

    def start(self) -> None:
        """Start it; returns at once."""
        self._log_start = self.log.stat().st_size if self.log.exists() else 0
        self._process = self._spawn(["daemon"], self.base_dir, self.log)
        self.starts += 1

    @property
    def is_running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._process is not None and self._process.poll() is None

    @property
    def has_begun(self) -> bool:
        """Whether it has its base directory: what follows waits for no program to be read."""
        if self._process is None:
            return False
        try:
            text = (self.base_dir / PID_NAME).read_text(encoding="ascii")
        except FileNotFoundError:
            return False
        return text == f"{self._process.pid}\n"

    @property
    def is_ready(self) -> bool:
        """Whether it has said that it takes tasks."""
        with self.log.open("rb") as log:
            log.seek(self._log_start)
            return READY in log.read()

    @property
    def takeovers(self) -> int:
        """How often it has taken the session over from another agent."""
        return self.log.read_bytes().count(TAKEOVER) if self.log.exists() else 0

    def kill(self) -> int:
        """End it as ``kill -9`` does, and return how it ended (``Popen.returncode``)."""
        if self._process is None:
            return 0
        self._process.kill()
        return self._process.wait()

    def replace(self) -> None:
        """Make it replace itself, as after an upgrade."""
        if self._process is not None:
            self._process.send_signal(signal.SIGHUP)

    def code(self) -> int | None:
        """Return its exit code, None while it runs."""
        return None if self._process is None else self._process.poll()

    @property
    def agent_id(self) -> str:
        """Its id at the API; empty before it has one."""
        try:
            return (self.base_dir / ID_NAME).read_text(encoding="ascii").strip()
        except FileNotFoundError:
            return ""

    def unsent(self) -> int:
        """Return how many writes have yet to leave its outbox; -1 before there is one."""
        found = self._ask("SELECT count(*) FROM outbox WHERE state = 'pending'")
        return -1 if found is None else int(found[0][0])

    def running_tasks(self) -> list[str] | None:
        """Return the tasks whose runs have not ended; None when it is unknown."""
        found = self._ask(
            "SELECT jobs.task_id FROM runs JOIN jobs ON jobs.id = runs.job_id "
            "WHERE runs.state <> 'ended'"
        )
        return None if found is None else [str(row[0]) for row in found]

    def _ask(self, query: str) -> list[tuple[Any, ...]] | None:
        database = self.base_dir / DATABASE_NAME
        if not database.exists():
            return None
        try:
            with contextlib.closing(
                sqlite3.connect(f"{database.as_uri()}?mode=ro", uri=True, timeout=5.0)
            ) as connection:
                return connection.execute(query).fetchall()
        except sqlite3.OperationalError:  # it is being made at this moment
            return None
