"""The listener to the server's events, where it has any: a new task starts at once."""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Mapping
from typing import Final

from keruta_agent.agent.journey.agent import Agent
from keruta_agent.agent.journey.session.poll import SessionPoll
from keruta_agent.agent.ports import KerutaApi
from keruta_agent.core import errors
from keruta_agent.core.backoff import Backoff
from keruta_agent.core.model import ServerEvent, TaskStatus

logger = logging.getLogger(__name__)

#: How long a broken stream waits before it is opened again.
BACKOFF: Final = Backoff(first_s=1.0, longest_s=60.0)
#: Events after which there may be something to do. Logs are of no interest here.
_RELEVANT: Final = ("task_", "session_")
_IRRELEVANT: Final = frozenset({"task_logs", "task_progress", "session_log_created"})
#: States of a task that has begun: nothing to run, and nothing to stop.
_BEGUN: Final = frozenset({TaskStatus.PROCESSING, TaskStatus.WAITING_FOR_INPUT})
_ENDED: Final = frozenset(status for status in TaskStatus if status.is_terminal)


class EventListener:
    """A thread that requests a poll when the server reports what others did.

    Most events of a busy session are echoes of this agent's own reports, and a poll reads the whole
    list of PENDING tasks.
    """

    def __init__(self, agent: Agent, api: KerutaApi, poll: SessionPoll) -> None:
        self._agent = agent
        self._api = api
        self._poll = poll
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
                self._react(matters=True)
            elif event.name.startswith(_RELEVANT) and event.name not in _IRRELEVANT:
                self._react(matters=self._may_matter(event))
        return something

    def _react(self, *, matters: bool) -> None:
        self._agent.prompt_lock.changed.set()  # an answer may have come
        if matters:
            self._agent.queue.poll_now()

    def _may_matter(self, event: ServerEvent) -> bool:
        """Return whether an event may mean a task to run, or a run to stop."""
        subject = event.data.get("data")
        if event.name != "task_update" or not isinstance(subject, Mapping):
            return True
        status = str(subject.get("status"))
        if status in _BEGUN:
            return False
        return status not in _ENDED or self._is_running(subject.get("taskId"))

    def _is_running(self, task_id: object) -> bool:
        """Return whether a task runs here. What this agent reports as ended does no more."""
        try:
            active = self._agent.records.runs.active()
        except sqlite3.Error as exc:  # the disk may be full
            logger.debug("cannot look what runs: %s", exc, extra={"action": "events_failed"})
            return True
        return active is not None and active[0].task_id == task_id


def event_listener(agent: Agent, poll: SessionPoll | None) -> EventListener | None:
    """Return the listener to the API's events, if there is an API and the settings ask for one."""
    if agent.api is None or poll is None or not agent.settings.api_events:
        return None
    return EventListener(agent, agent.api, poll)
