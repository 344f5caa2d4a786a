"""The pause of the queue while the session is PAUSED at the API.

The queue's own flag is used, so that every command that looks at the queue says why it rests.
"""

from __future__ import annotations

import logging
from typing import Final

from keruta_agent.agent.journey.agent import Agent
from keruta_agent.core.model import Session, SessionStatus

logger = logging.getLogger(__name__)

#: Also distinguishes this pause from one by a person here, which only a person here ends.
REASON: Final = "the session is PAUSED at the API"


def follow(agent: Agent, session: Session) -> None:
    """Pause or resume the queue as the session's state says."""
    paused = agent.records.jobs.pause_reason()
    about = {"session": session.id}
    if session.status == SessionStatus.PAUSED:
        if paused is None:
            agent.records.jobs.pause(REASON)
            logger.info("paused: %s", REASON, extra={"action": "session_paused", **about})
    elif paused == REASON:
        agent.records.jobs.resume()
        logger.info("the session goes on", extra={"action": "session_resumed", **about})
        agent.queue.jobs_runnable()
