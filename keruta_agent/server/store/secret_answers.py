"""Answers to secret questions, until the script has taken them.

One process keeps them in its memory and nowhere else. Several on one PostgreSQL share them: sealed
with a key that the database never sees, for a minute, and bound to their question, so that a row
that was moved elsewhere opens nothing.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import logging
import os
import threading
import uuid
from typing import TYPE_CHECKING, Final, Protocol

import peewee

from keruta_agent.core import errors
from keruta_agent.http.problems import Problem
from keruta_agent.server.store.statements import statement

if TYPE_CHECKING:
    from keruta_agent.server.store.database import Database
    from keruta_agent.server.store.store import Change

logger = logging.getLogger(__name__)

#: Characters that a key has at least: `openssl rand -base64 32` writes 44.
SHORTEST_KEY: Final = 32
#: Seconds for which a sealed answer waits for its script.
KEPT_S: Final = 60
#: Seconds between looks for answers that have waited too long; each look says that we are there.
SWEEP_INTERVAL_S: Final = 5.0
#: Seconds after which a server that says nothing counts as ended.
_GONE_S: Final = 60
_NONCE_BYTES: Final = 12

#: The clock of the database, which all servers see alike.
_NOW: Final = "(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000)::BIGINT"


def _past(seconds: int) -> str:
    return f"{_NOW} - {seconds * 1_000_000}"


_KEEP: Final = statement(
    "INSERT INTO secret_answers (task, question, key, sealed, created_at)"  # noqa: S608
    f" VALUES (?, ?, ?, ?, {_NOW})"
    " ON CONFLICT (task) DO UPDATE SET question = excluded.question, key = excluded.key,"
    " sealed = excluded.sealed, created_at = excluded.created_at"
)
_FIND: Final = statement(
    "SELECT key, sealed FROM secret_answers"  # noqa: S608
    f" WHERE task = ? AND question = ? AND created_at > {_past(KEPT_S)}"
)
_FORGET: Final = statement("DELETE FROM secret_answers WHERE task = ?")
_SWEEP: Final = statement(
    f"DELETE FROM secret_answers WHERE created_at <= {_past(KEPT_S)}"  # noqa: S608
)
_NOTE_KEY: Final = statement(
    f"INSERT INTO server_keys (process, key, seen_at) VALUES (?, ?, {_NOW})"  # noqa: S608
    " ON CONFLICT (process) DO UPDATE SET seen_at = excluded.seen_at"
)
_OTHER_KEYS: Final = statement(
    f"SELECT COUNT(*) FROM server_keys WHERE key <> ? AND seen_at > {_past(_GONE_S)}"  # noqa: S608
)
_REMOVE_KEY: Final = statement("DELETE FROM server_keys WHERE process = ?")
_SWEEP_KEYS: Final = statement(
    f"DELETE FROM server_keys WHERE seen_at <= {_past(_GONE_S)}"  # noqa: S608
)


class SecretAnswers(Protocol):
    """Where answers to secret questions wait."""

    def keep(self, change: Change, task: int, question: int, text: str) -> None:
        """Keep the answer to a question; it takes the place of the task's earlier one."""

    def find(self, task: int, question: int) -> str | None:
        """Return the answer to a question; None if there is none.

        Raises:
            Problem: it was sealed with another key (503).
        """

    def forget(self, change: Change, task: int) -> None:
        """Forget the answer to a task's question."""

    def close(self) -> None:
        """End what runs in the background."""


class MemoryAnswers:
    """Answers in the memory of one process."""

    def __init__(self) -> None:
        #: By the number of the task: (question, text).
        self._answers: dict[int, tuple[int, str]] = {}

    def keep(self, change: Change, task: int, question: int, text: str) -> None:
        """Keep an answer once the write is through."""
        change.afterwards(lambda: self._answers.update({task: (question, text)}))

    def find(self, task: int, question: int) -> str | None:
        """Return an answer that this process was given."""
        answered, text = self._answers.get(task, (question, None))
        return text if answered == question else None

    def forget(self, change: Change, task: int) -> None:
        """Forget an answer once the write is through."""

        def forget() -> None:
            self._answers.pop(task, None)

        change.afterwards(forget)

    def close(self) -> None:
        """Have nothing to end."""


@dataclasses.dataclass(frozen=True)
class _Key:
    """A key, and what names it without telling it."""

    sealing: bytes = dataclasses.field(repr=False)
    name: str

    @classmethod
    def of(cls, text: str) -> _Key:
        """Derive the key from what people have set.

        Raises:
            SettingsError: it is too short, or there is no library to seal with.
        """
        if len(text) < SHORTEST_KEY:
            raise errors.SettingsError(
                f"the server's secret key has less than {SHORTEST_KEY} characters",
                advice="Make one with: openssl rand -base64 32",
            )
        try:
            from cryptography.hazmat.primitives.hashes import SHA256
            from cryptography.hazmat.primitives.kdf.hkdf import HKDF
        except ImportError:
            raise errors.SettingsError(
                "the library that seals secret answers is not installed",
                advice="Install it with: pip install 'keruta-agent[postgresql]'",
            ) from None

        def derived(length: int, purpose: bytes) -> bytes:
            return HKDF(SHA256(), length, salt=None, info=purpose).derive(text.encode())

        return cls(
            sealing=derived(32, b"keruta: answers to secret questions"),
            name=derived(8, b"keruta: name of the key").hex(),
        )

    def seal(self, text: str, place: bytes) -> str:
        """Return a text that only this key opens, and only at this place."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        nonce = os.urandom(_NONCE_BYTES)
        sealed = AESGCM(self.sealing).encrypt(nonce, text.encode(), place)
        return base64.b64encode(nonce + sealed).decode()

    def open(self, sealed: str, place: bytes) -> str | None:
        """Return what was sealed; None if it was not sealed for this place."""
        from cryptography.exceptions import InvalidTag
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        try:
            content = base64.b64decode(sealed)
            nonce, rest = content[:_NONCE_BYTES], content[_NONCE_BYTES:]
            return AESGCM(self.sealing).decrypt(nonce, rest, place).decode()
        except (InvalidTag, binascii.Error, ValueError):
            return None


class SealedAnswers:
    """Answers in the database that several servers share."""

    def __init__(self, database: Database, key: str) -> None:
        """Take the servers' common key.

        Raises:
            SettingsError: the key cannot be used.
            AgentStateError: a server with another key runs on this database.
        """
        self._database = database
        self._key = _Key.of(key)
        self._process = uuid.uuid4().hex
        self._closed = threading.Event()
        self._look_after()
        if _runs_with_another_key(database, self._key.name):
            self._remove_key()
            raise errors.AgentStateError(
                f"another server on the database {database.name} has another secret key",
                advice="Give all servers the same one; to change it, stop all of them first",
            )
        self._thread = threading.Thread(target=self._run, name="server-secret-answers", daemon=True)
        self._thread.start()

    def keep(self, change: Change, task: int, question: int, text: str) -> None:
        """Keep an answer with the write that it belongs to."""
        sealed = self._key.seal(text, _place(task, question))
        self._database.run(_KEEP, task, question, self._key.name, sealed)

    def find(self, task: int, question: int) -> str | None:
        """Return the answer to a question."""
        row = self._database.run(_FIND, task, question).fetchone()
        if row is None:
            return None
        name, sealed = row
        text = self._key.open(sealed, _place(task, question)) if name == self._key.name else None
        if text is None:
            raise _unreadable()
        return text

    def forget(self, change: Change, task: int) -> None:
        """Remove the answer with the write that it belongs to."""
        self._database.run(_FORGET, task)

    def close(self) -> None:
        """Stop looking after old answers."""
        self._closed.set()
        self._thread.join()
        try:
            self._remove_key()
        except (peewee.DatabaseError, peewee.InterfaceError) as exc:
            # Without the row the next server that has another key would start at once.
            logger.debug("the key stays noted for a minute: %s", exc)

    def _run(self) -> None:
        while not self._closed.wait(SWEEP_INTERVAL_S):
            try:
                self._look_after()
            except (peewee.DatabaseError, peewee.InterfaceError) as exc:
                reason = " ".join(str(exc).split()) or type(exc).__name__
                logger.warning(
                    "cannot look after answers to secret questions: %s",
                    reason,
                    extra={"action": "server_storage_failed"},
                )

    def _look_after(self) -> None:
        with self._database.connected():
            self._database.run(_SWEEP)
            self._database.run(_SWEEP_KEYS)
            self._database.run(_NOTE_KEY, self._process, self._key.name)

    def _remove_key(self) -> None:
        with self._database.connected():
            self._database.run(_REMOVE_KEY, self._process)


class _UnsharedAnswers(MemoryAnswers):
    """Answers of one process on a database that others may share."""

    def __init__(self, database: Database) -> None:
        super().__init__()
        self._database = database

    def find(self, task: int, question: int) -> str | None:
        """Return an answer that this process was given, and say that it is another's."""
        text = super().find(task, question)
        if text is None and self._database.run(_FIND, task, question).fetchone() is not None:
            raise _unreadable()
        return text


def open_answers(database: Database, key: str | None) -> SecretAnswers:
    """Return where answers to secret questions wait; on SQLite there is one process.

    Raises:
        SettingsError: the key cannot be used.
        AgentStateError: a server with another key runs on this database.
    """
    if not database.postgresql:
        return MemoryAnswers()
    if key is not None:
        return SealedAnswers(database, key)
    if _runs_with_another_key(database, ""):
        raise errors.AgentStateError(
            f"other servers on the database {database.name} have a secret key, and this one has"
            " none",
            advice="Give it theirs by KERUTA_SERVER_SECRET_KEY or --secret-key-file",
        )
    logger.warning(
        "no secret key is set: answers to secret questions stay in this process, and do not reach"
        " scripts that ask another server; see --secret-key-file",
        extra={"action": "server_secrets_unshared"},
    )
    return _UnsharedAnswers(database)


def _runs_with_another_key(database: Database, name: str) -> bool:
    with database.connected():
        return bool(database.run(_OTHER_KEYS, name).fetchone()[0])


def _place(task: int, question: int) -> bytes:
    """Return what a sealed answer is bound to."""
    return f"task {task}, question {question}".encode()


def _unreadable() -> Problem:
    message = "the answer to a secret question was sealed with a key that this server has not"
    logger.error(message, extra={"action": "server_secret_unreadable"})
    return Problem(
        503,
        "SECRET_KEY_DIFFERS",
        f"{message}; its servers need the same secret key",
        headers={"Retry-After": "5"},
    )
