"""The listener to the server's events, where it has any: a new task starts at once."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Final

from keruta_agent.agent.journey.agent import Agent
from keruta_agent.agent.journey.session.poll import SessionPoll
from keruta_agent.agent.ports import KerutaApi
from keruta_agent.core import errors
from keruta_agent.core.backoff import Backoff

logger = logging.getLogger(__name__)

#: How long a broken stream waits before it is opened again.
BACKOFF: Final = Backoff(first_s=1.0, longest_s=60.0)
#: Events after which there may be something new to run. Logs are of no interest here.
_RELEVANT: Final = ("task_", "session_")
_IRRELEVANT: Final = frozenset({"task_logs", "task_progress", "session_log_created"})


class EventListener:
    """A thread that requests a poll whenever the server reports a change."""

    def __init__(self, api: KerutaApi, poll: SessionPoll, poll_now: Callable[[], None]) -> None:
        self._api = api
        self._poll = poll
        self._poll_now = poll_now
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._listen, name="events", daemon=True)

    def start(self) -> None:
        """Begin to listen."""
        self._thread.start()

    def stop(self) -> None:
        """Ask the thread to end; a stream that is silent ends with the process."""
        self._stop.set()

    def _listen(self) -> None:
        failures = 0
        while not self._stop.is_set() and not self._poll.ended.is_set():
            try:
                failures = 0 if self._listen_once() else failures
            except errors.ApiError as exc:
                logger.debug("no events: %s", exc, extra={"action": "events_failed"})
            failures += 1
            self._stop.wait(BACKOFF.delay_s(failures))

    def _listen_once(self) -> bool:
        """Listen until the stream ends; return whether anything came."""
        session_id = self._poll.session_id
        if session_id is None:
            return False
        something = False
        for event in self._api.events(session_id, self._stop):
            if not something:
                # What changed between the last poll and the opening of this stream.
                something = True
                self._poll_now()
            elif event.name.startswith(_RELEVANT) and event.name not in _IRRELEVANT:
                self._poll_now()
        return something


def event_listener(agent: Agent, poll: SessionPoll | None) -> EventListener | None:
    """Return the listener to the API's events, if there is an API and the settings ask for one."""
    if agent.api is None or poll is None or not agent.settings.api_events:
        return None

    def poll_now() -> None:
        agent.queue.poll_now()
        agent.prompt_lock.changed.set()  # an answer may have come

    return EventListener(agent.api, poll, poll_now)
