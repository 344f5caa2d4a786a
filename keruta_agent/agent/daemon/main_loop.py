"""The daemon's main loop: it checks workers and files, and handles requests to stop."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Final

from keruta_agent.agent.daemon.state_files import StateFiles
from keruta_agent.agent.daemon.systemd import ServiceManager
from keruta_agent.agent.journey.agent import Agent
from keruta_agent.agent.journey.session.poll import SessionPoll
from keruta_agent.agent.queue.dispatcher import Dispatcher
from keruta_agent.agent.store.jobs import StopKind
from keruta_agent.core import errors
from keruta_agent.core.log import logs
from keruta_agent.core.settings.schema import Settings
from keruta_agent.core.signals import StopRequests

logger = logging.getLogger(__name__)

#: Seconds between looks.
LOOK_S: Final = 1.0
CHECK_S: Final = 10.0
#: Seconds between looks whether the last job has ended, once the daemon was asked to stop.
STOP_LOOK_S: Final = 0.1
#: Requests to stop after which the daemon leaves at once.
LEAVE_AT_ONCE: Final = 3
#: Seconds that a service manager is asked for, again and again, while a task is being finished.
EXTENSION_S: Final = 30.0


class MainLoop:
    """The loop of the main thread, from the daemon's start to its end or replacement."""

    def __init__(
        self,
        agent: Agent,
        poll: SessionPoll | None,
        dispatcher: Dispatcher,
        requests: StopRequests,
        manager: ServiceManager,
        reload_settings: Callable[[], Settings],
        state_files: StateFiles,
    ) -> None:
        self._agent = agent
        self._poll = poll
        self._dispatcher = dispatcher
        self._requests = requests
        self._manager = manager
        self._reload_settings = reload_settings
        self._state_files = state_files
        self._stopping = _Stopping(agent, dispatcher, manager)
        self._next_check = time.monotonic() + CHECK_S

    def run(self) -> None:
        """Return when the daemon is to end, or to replace itself."""
        requests = self._requests
        while requests.count < LEAVE_AT_ONCE and not requests.wants_replacement:
            requests.wait(STOP_LOOK_S if requests.count else LOOK_S)
            self._reopen_log()
            if self._stopping.handle(requests.count) or self._session_is_over():
                return
            self._manager.alive()
            self._check_parts()
            self._check_files()
        if not requests.wants_replacement:
            logger.warning(
                "leaves at once; the next daemon goes on with what runs",
                extra={"action": "leaving"},
            )

    def _reopen_log(self) -> None:
        if self._requests.reopen_log:
            self._requests.reopen_log = False
            _reopen_log()

    def _session_is_over(self) -> bool:
        if self._poll is None or not self._poll.ended.is_set():
            return False
        return not self._agent.settings.keep_alive and not self._agent.records.jobs.has_open()

    def _check_parts(self) -> None:
        """Restart workers that died, and the daemon itself once its token was renewed."""
        if time.monotonic() < self._next_check:
            return
        self._next_check = time.monotonic() + CHECK_S
        self._dispatcher.check_workers()
        if self._token_was_renewed():
            self._requests.reload()

    def _token_was_renewed(self) -> bool:
        """Return whether the config file holds another token than the one that the API refuses."""
        sender = self._agent.outbox_sender
        refuses_writes = sender is not None and sender.is_unauthorized
        refuses_polls = self._poll is not None and self._poll.is_unauthorized
        if not refuses_writes and not refuses_polls:
            return False
        try:
            return self._reload_settings().api_token != self._agent.settings.api_token
        except errors.SettingsError as exc:
            logger.warning(
                "cannot read the settings again: %s", exc, extra={"action": "settings_unreadable"}
            )
            return False

    def _check_files(self) -> None:
        """Restore files of the agent that were removed; stop if the base directory was."""
        if self._requests.count:
            return
        if self._state_files.base_was_removed():
            logger.error("the base directory was removed: stops", extra={"action": "base_removed"})
            self._requests.stop()
            self._requests.stop()  # what runs as well: nobody could go on with it
        elif removed := self._state_files.removed():
            self._state_files.restore(removed)
            self._requests.reload()


class _Stopping:
    """What the first and the second request to stop mean."""

    def __init__(self, agent: Agent, dispatcher: Dispatcher, manager: ServiceManager) -> None:
        self._agent = agent
        self._dispatcher = dispatcher
        self._manager = manager
        self._since: float | None = None
        self._stopped_job = False

    def handle(self, count: int) -> bool:
        """Do what is due; return whether the daemon can end now."""
        if count == 0:
            return False
        if self._since is None:
            self._finish_running()
        if count > 1 or self._is_overdue():
            self._stop_running()
        self._manager.extend_stop(EXTENSION_S)
        return self._dispatcher.wait_for_job(0)

    def _is_overdue(self) -> bool:
        limit = self._agent.settings.stop_timeout_s
        return bool(limit) and time.monotonic() - (self._since or 0.0) > limit

    def _finish_running(self) -> None:
        self._since = time.monotonic()
        active = self._agent.records.runs.active()
        running = f"finishes job {active[0].id}; ask again to stop it" if active else "none runs"
        logger.info("asked to stop: takes no more jobs, %s", running, extra={"action": "stopping"})
        self._dispatcher.stop_taking_jobs()

    def _stop_running(self) -> None:
        active = self._agent.records.runs.active()
        if active is None or self._stopped_job:
            return
        self._stopped_job = True
        logger.warning("stops job %d", active[0].id, extra={"action": "stopping_job"})
        self._agent.stops.request(active[0].id, StopKind.AGENT_STOPPED, "The agent was stopped")
        self._agent.wake_event.wake()


def _reopen_log() -> None:
    try:
        logs.reopen()
    except OSError as exc:  # the next line tries again
        logger.warning("cannot open the log file anew: %s", exc, extra={"action": "log_unopened"})
    else:
        logger.info("goes on in a new log file", extra={"action": "log_reopened"})
