"""The agent's heartbeats: a thread of their own, so that nothing slow costs it its lease."""

from __future__ import annotations

import logging
import sqlite3
import threading
from typing import Final

from keruta_agent.agent.journey import claim
from keruta_agent.agent.journey.agent import Agent
from keruta_agent.agent.journey.session.poll import SessionPoll

logger = logging.getLogger(__name__)

#: Seconds that a stopping daemon waits for the server to take its leave.
LEAVE_S: Final = 3.0


class Heartbeat:
    """A thread that renews the lease of the agent."""

    def __init__(self, agent: Agent, poll: SessionPoll) -> None:
        self._agent = agent
        self._poll = poll
        self._stop = threading.Event()
        self._leaves = False
        self._thread = threading.Thread(target=self._work, name="heartbeat", daemon=True)

    def start(self) -> None:
        """Begin to send heartbeats."""
        self._thread.start()

    def stop(self, *, leaves: bool) -> None:
        """End the thread; an agent that leaves has its lease end now."""
        self._leaves = leaves
        self._stop.set()
        self._thread.join(LEAVE_S)

    def _work(self) -> None:
        ownership = self._agent.ownership
        while not self._stop.wait(ownership.interval_s):
            session_id = self._poll.session_id
            if session_id is None or self._poll.ended.is_set():
                continue
            try:
                was_standby = ownership.standby is not None
                ownership.heartbeat(session_id)
                claim.wake_withheld(self._agent)
            except sqlite3.Error as exc:  # the disk may be full
                logger.warning("a heartbeat failed: %s", exc, extra={"action": "heartbeat_failed"})
                continue
            if was_standby and ownership.standby is None:
                self._agent.queue.poll_now()
        if self._leaves:
            ownership.leave()
