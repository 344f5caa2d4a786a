"""Which agent serves the session: registers this one, renews its lease, keeps to its role.

The server decides, by its own clock. The agent that came second stands by: it starts nothing new
until the first has been silent for its lease. What it runs already it brings to its end.
"""

from __future__ import annotations

import logging
import threading
import time
from typing import Final

from keruta_agent.agent.ports import KerutaApi
from keruta_agent.agent.store.remembered.claims import KnownClaims
from keruta_agent.core import errors
from keruta_agent.core.backoff import Backoff
from keruta_agent.core.model import AgentIdentity, AgentRole

logger = logging.getLogger(__name__)

#: Heartbeats in a lease: two may get lost.
HEARTBEATS: Final = 3
#: How long new tasks are left alone after a claim that could not be made.
BACKOFF: Final = Backoff(first_s=0.5, longest_s=15.0)


class Ownership:
    """What this agent is to its session. Safe to share between threads."""

    def __init__(
        self, api: KerutaApi | None, identity: AgentIdentity, claims: KnownClaims, lease_s: float
    ) -> None:
        self.identity = identity
        self.claims = claims
        self._api = api
        self._lease_s = lease_s
        self._guard = threading.Lock()
        self._session_id: str | None = None
        self._heartbeat_due = 0.0
        self._standby: str | None = None
        self._has_left = False
        self._failures = 0
        self._claims_from = 0.0
        self._has_withheld_some = False
        #: Tasks that wait and that this agent has claimed, as the API said last while it stood by.
        #: The answer to such a claim was lost, and no other agent will ever take them.
        self.claimed: frozenset[str] = frozenset()

    @property
    def interval_s(self) -> float:
        """Seconds between heartbeats."""
        return self._lease_s / HEARTBEATS

    @property
    def standby(self) -> str | None:
        """Why this agent starts nothing new: the agent that does; None when this one does."""
        return self._standby

    def heartbeat(self, session_id: str) -> None:
        """Register with the session, or renew the lease when that is due."""
        if self._api is None:
            return
        with self._guard:
            if self._has_left:  # a last poll must not register the agent again
                return
            if session_id == self._session_id and time.monotonic() < self._heartbeat_due:
                return
            self._heartbeat(self._api, session_id)

    def _heartbeat(self, api: KerutaApi, session_id: str) -> None:
        try:
            registration = api.register_agent(self.identity, session_id, lease_s=self._lease_s)
        except errors.ApiUnsupported:
            self.claims.learn(False)
            standby = None
        except errors.ApiConflict as exc:
            standby = exc.message
        except errors.ApiError as exc:
            # The role stays: claims keep a task from being run twice, whoever is active.
            logger.debug("no heartbeat: %s", exc, extra={"action": "heartbeat_failed"})
            return
        else:
            self.claims.learn(True)
            standby = None if registration.role is AgentRole.ACTIVE else registration.active
            standby = "another agent" if standby == "" else standby
        self._session_id = session_id
        self._heartbeat_due = time.monotonic() + self.interval_s
        self._follow(session_id, standby)

    def _follow(self, session_id: str, standby: str | None) -> None:
        if standby is not None and self._standby is None:
            logger.warning(
                "another agent serves the session %s: %s. This one stands by, and takes over when "
                "that one has left or was silent for its lease",
                session_id,
                standby,
                extra={"action": "standby", "session": session_id},
            )
        elif standby is None and self._standby is not None:
            logger.warning(
                "takes over the session %s from %s",
                session_id,
                self._standby,
                extra={"action": "standby_ended", "session": session_id},
            )
        self._standby = standby

    def leave(self) -> None:
        """End the lease, so that another agent need not wait for its end."""
        with self._guard:
            session_id = self._session_id
            self._has_left = True
            if self._api is None or session_id is None or not self.claims.are_known:
                return
            try:
                self._api.register_agent(self.identity, session_id, lease_s=0)
            except errors.ApiError as exc:
                logger.debug("cannot leave: %s", exc, extra={"action": "heartbeat_failed"})

    def takes_new_tasks(self) -> bool:
        """Return whether a task that was never begun may be claimed now."""
        takes = self._standby is None and time.monotonic() >= self._claims_from
        self._has_withheld_some |= not takes
        return takes

    def has_withheld(self) -> bool:
        """Return, once, whether tasks were withheld that may be claimed now."""
        withheld = self._has_withheld_some
        if withheld and self.takes_new_tasks():
            self._has_withheld_some = False
            return True
        return False

    def claim_failed(self) -> float:
        """Withhold new tasks for a while after a failed claim; return the seconds."""
        self._failures += 1
        wait_s = BACKOFF.delay_s(self._failures)
        self._claims_from = time.monotonic() + wait_s
        self._has_withheld_some = True
        return wait_s

    def claim_worked(self) -> None:
        """Let new tasks be claimed at once."""
        self._failures = 0
        self._claims_from = 0.0
