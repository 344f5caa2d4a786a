"""The record of how a script ended: its fields, and the proof that the run's shim wrote it.

The record lies where the script itself can write. So before the script starts, a secret goes to
the shim, through a socket that nobody else can open, and only its SHA-256 to the agent's records.
The shim writes the secret into the record when no process of the run is left. A script that kills
its shim has no way to learn it, and a record without it proves nothing.
"""

from __future__ import annotations

import dataclasses
import hashlib
import hmac
import math
import secrets
from typing import Any, Final

from keruta_agent.agent.run.files import from_json

#: Of runs that were started before records had a proof: what they say is believed as it was then.
UNPROVED: Final = "unproved"
#: Bytes of the secret.
_SECRET_BYTES: Final = 32
#: Beyond what a wait status can hold (wait(2)).
_MOST_EXIT_CODES: Final = 256
_MOST_SIGNALS: Final = 128
_MOST_COUNT: Final = 2**62


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExitRecord:
    """How a script ended, as the shim saw it."""

    exit_code: int | None = None
    signal: int | None = None
    #: Why the script could not be started; None when it was.
    error: str | None = None
    #: Whether the shim was asked to stop the script.
    stopped: bool = False
    started_at: float
    ended_at: float
    #: Processes that the script left behind and that were ended after it.
    swept: int = 0
    #: A directory on a disk that had no room left when the script had ended.
    full: str | None = None
    #: Seconds of processor time, over all processes of the run that ended.
    user_s: float = 0.0
    system_s: float = 0.0
    #: Peak memory of the largest process, KiB.
    max_rss_kb: int = 0
    #: Blocks of 512 bytes that all processes of the run read from disks, and wrote to them.
    blocks_in: int = 0
    blocks_out: int = 0
    #: What only the shim could know.
    proof: str = dataclasses.field(default="", repr=False)

    def is_proved(self, digest: str | None) -> bool:
        """Return whether the run's shim wrote this, by the digest stored before the start."""
        if digest == UNPROVED:
            return True
        return digest is not None and hmac.compare_digest(digest, digest_of(self.proof))


def make_secret() -> str:
    """Return a secret for a shim."""
    return secrets.token_hex(_SECRET_BYTES)


def digest_of(secret: str) -> str:
    """Return what may be known of a secret before it is revealed."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def parse(text: str) -> ExitRecord | None:
    """Read a record; None when it holds what no shim writes."""
    try:
        values = from_json(text)
    except ValueError:
        return None
    if not isinstance(values, dict):
        return None
    known = {name: value for name, value in values.items() if name in _CHECKS}
    if not {"started_at", "ended_at"} <= known.keys():
        return None
    if not all(_CHECKS[name](value) for name, value in known.items()):
        return None
    record = ExitRecord(**known)
    ways = (record.exit_code, record.signal, record.error)
    return record if sum(way is not None for way in ways) == 1 else None


def _is_text(value: Any) -> bool:
    return isinstance(value, str)


def _is_text_or_none(value: Any) -> bool:
    return value is None or isinstance(value, str)


def _is_exit_code(value: Any) -> bool:
    return value is None or (type(value) is int and 0 <= value < _MOST_EXIT_CODES)


def _is_signal(value: Any) -> bool:
    return value is None or (type(value) is int and 0 < value < _MOST_SIGNALS)


def _is_count(value: Any) -> bool:
    return type(value) is int and 0 <= value < _MOST_COUNT


def _is_seconds(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value) and 0 <= value < _MOST_COUNT


_CHECKS: Final = {
    "exit_code": _is_exit_code,
    "signal": _is_signal,
    "error": _is_text_or_none,
    "stopped": lambda value: isinstance(value, bool),
    "started_at": _is_seconds,
    "ended_at": _is_seconds,
    "swept": _is_count,
    "full": _is_text_or_none,
    "user_s": _is_seconds,
    "system_s": _is_seconds,
    "max_rss_kb": _is_count,
    "blocks_in": _is_count,
    "blocks_out": _is_count,
    "proof": _is_text,
}
