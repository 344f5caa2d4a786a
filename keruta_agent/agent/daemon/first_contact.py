"""The first requests to the API, for which a starting daemon waits a limited time.

An API that takes a request and never answers would keep it from everything else: a script that an
earlier daemon has left is not followed meanwhile, and nobody who asks the agent is answered.
"""

from __future__ import annotations

import logging
import threading
from typing import Final

from keruta_agent.agent.journey.agent import Agent
from keruta_agent.agent.journey.session.poll import SessionPoll
from keruta_agent.agent.ports import KerutaApi
from keruta_agent.core import errors

logger = logging.getLogger(__name__)

#: Seconds that the start waits. An API that answers needs a part of one.
TIMEOUT_S: Final = 5.0


class FirstContact(threading.Thread):
    """Resolve the session and test a write, before the workers start what is recorded."""

    def __init__(self, agent: Agent, api: KerutaApi, poll: SessionPoll) -> None:
        super().__init__(name="first-contact", daemon=True)
        self._agent = agent
        self._api = api
        self._poll = poll
        self._failure: Exception | None = None

    def run(self) -> None:
        try:
            self._poll.resolve()
            self._agent.writes.test(self._api)
        except errors.ApiError as exc:
            logger.warning(
                "cannot ask the API which session to serve, goes on trying: %s",
                exc,
                extra={"action": "session_unresolved"},
            )
        except Exception as exc:  # the thread's edge: raised again by wait()
            self._failure = exc

    def wait(self, timeout_s: float = TIMEOUT_S) -> None:
        """Wait until both are done or the time is over: the polls then find out.

        Raises:
            SettingsError: nothing says which session to serve, or it fits none or several.
        """
        self.join(timeout_s)
        if self._failure is not None:
            raise self._failure
        if self.is_alive():
            logger.warning(
                "the API has not answered for %.0f seconds, starts all the same",
                timeout_s,
                extra={"action": "api_slow"},
            )


def find_session(agent: Agent) -> SessionPoll | None:
    """Ask the API which session to serve; None where no API is configured.

    Raises:
        SettingsError: nothing says which session to serve, or it fits none or several.
    """
    if agent.api is None:
        logger.warning(
            "no API is configured (KERUTA_API_URL): runs only what `keruta execute` submits",
            extra={"action": "no_api"},
        )
        return None
    poll = SessionPoll(agent, agent.api)
    contact = FirstContact(agent, agent.api, poll)
    contact.start()
    contact.wait()
    return poll
