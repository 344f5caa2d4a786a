"""The states of a slot, and the answers to its users."""

from __future__ import annotations

import dataclasses
import enum
from typing import Any, Final

from keruta_agent.core import errors
from keruta_agent.git.url import RepositoryUrl
from keruta_agent.http.application import WAITING_THREADS
from keruta_agent.http.problems import Problem, conflict

#: Requests for slots that may be under way at once. Each holds a thread while it waits for a slot
#: or a clone; some threads are left, so that the next request is refused at once.
MOST_WAITING: Final = WAITING_THREADS - 4


class State(enum.StrEnum):
    """What is the matter with a slot."""

    #: Clean, and ready to be lent.
    FREE = "free"
    #: Given back; is cleaned when there is time, or when it is lent.
    DIRTY = "dirty"
    #: Its directory must go: a holder that was given up may still work in it, or it is half made.
    CONDEMNED = "condemned"
    #: The cleaner works at it.
    CLEANING = "cleaning"
    #: It has a holder, which is answered as soon as the clone is ready.
    PREPARING = "preparing"
    LENT = "lent"


#: States from which a slot can be lent, the quickest first.
LENDABLE: Final = (State.FREE, State.DIRTY, State.CONDEMNED)
HELD: Final = frozenset({State.PREPARING, State.LENT})


@dataclasses.dataclass(frozen=True, kw_only=True)
class AllocationRequest:
    """A client's request for a slot."""

    url: RepositoryUrl
    holder: str
    wait_s: float
    lease_s: float
    #: Under which the same request is known when it is repeated; empty for none.
    key: str


def nobody() -> dict[str, Any]:
    """Return the columns of a slot that nobody holds."""
    return {"holder": "", "lease_token": "", "key": ""}


def public(state: str) -> str:
    """Return the state in the words of the wire."""
    if state in HELD:
        return "allocated"
    return "cleaning" if state in (State.CLEANING, State.DIRTY) else "available"


def lost(slot_id: str) -> Problem:
    """Return the refusal of a client that no longer has the slot."""
    return conflict("LEASE_ENDED", f"slot {slot_id!r} is not lent under this lease any more")


def in_use() -> Problem:
    """Return the refusal of a request that is being served already."""
    return conflict("KEY_IN_USE", "a request with this Idempotency-Key is still under way")


def too_many() -> Problem:
    """Return the refusal of one more waiting client."""
    return Problem(
        503,
        "TOO_MANY_WAITING",
        f"{MOST_WAITING} requests for slots are under way already",
        headers={"Retry-After": "5"},
    )


def unusable(url: RepositoryUrl, exc: errors.WorkspaceError) -> Problem:
    """Return the refusal of a repository that git cannot make a slot of."""
    # What git was doing in the server's directories means nothing to the client.
    why = exc.message.partition(": ")[2] or exc.message
    advice = f". {exc.advice}" if exc.advice else ""
    return Problem(
        422, "REPOSITORY_UNUSABLE", f"cannot clone {url}: {why}{advice}", field="repo_url"
    )
