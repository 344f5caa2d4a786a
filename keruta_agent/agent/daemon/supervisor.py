"""The daemon's process: its parts, the order in which they start, and the order of their stop."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from keruta_agent import __version__
from keruta_agent.agent.control.control import Control
from keruta_agent.agent.control.socket.socket_server import AgentSocket
from keruta_agent.agent.control.status import describe
from keruta_agent.agent.daemon import lock
from keruta_agent.agent.daemon.answers import answer_poll
from keruta_agent.agent.daemon.awake import keep_awake
from keruta_agent.agent.daemon.events import event_listener
from keruta_agent.agent.daemon.first_contact import find_session
from keruta_agent.agent.daemon.heartbeat import Heartbeat
from keruta_agent.agent.daemon.http import http_api
from keruta_agent.agent.daemon.main_loop import LEAVE_AT_ONCE, MainLoop
from keruta_agent.agent.daemon.shutdown import drain_outbox, replace_process
from keruta_agent.agent.daemon.state_files import StateFiles
from keruta_agent.agent.daemon.systemd import ServiceManager
from keruta_agent.agent.daemon.wiring import build_agent, configured_api
from keruta_agent.agent.journey import quarantine, recover
from keruta_agent.agent.journey.agent import Agent
from keruta_agent.agent.journey.session.poll import SessionPoll
from keruta_agent.agent.queue.dispatcher import Dispatcher
from keruta_agent.agent.run import processes
from keruta_agent.core import errors
from keruta_agent.core.process_tree.program import take_charge
from keruta_agent.core.settings.schema import Settings
from keruta_agent.core.signals import ALL_SIGNALS, StopRequests

if TYPE_CHECKING:
    from keruta_agent.agent.control.http.serve import HttpApi

logger = logging.getLogger(__name__)

#: Seconds that a stopping daemon waits for each of its workers.
STOP_WORKERS_S: Final = 5.0


def run_daemon(
    settings: Settings, reload_settings: Callable[[], Settings], *, serves_http: bool = False
) -> None:
    """Run the daemon until its session has ended, or it is stopped.

    Args:
        settings: the settings in force.
        reload_settings: reads them anew, for a token that was renewed meanwhile.
        serves_http: whether the HTTP API is on.

    Raises:
        KerutaError: it cannot be started.
    """
    processes.reap_inherited()
    take_charge(still_blocked=ALL_SIGNALS)
    requests = StopRequests()
    with (
        lock.agent_lock(settings.base_dir) as locked,
        requests.heard(),  # before the file shows others where to send signals
        _pid_file(settings.pid_file),
        http_api(settings, is_on=serves_http) as http,
    ):
        dispatcher = Dispatcher(settings.base_dir, settings.poll_interval_s)
        agent = build_agent(settings, dispatcher, configured_api(settings))
        daemon = Daemon(agent, find_session(agent), dispatcher, requests, http)
        daemon.start()
        try:
            daemon.run(reload_settings)
        finally:
            if requests.wants_replacement:
                daemon.make_way()
                replace_process(requests, locked)
            daemon.stop()


class Daemon:
    """A running agent: the threads around its work queue, and the sockets it listens on."""

    def __init__(
        self,
        agent: Agent,
        poll: SessionPoll | None,
        dispatcher: Dispatcher,
        requests: StopRequests,
        http: HttpApi | None,
    ) -> None:
        self._agent = agent
        self._poll = poll
        self._dispatcher = dispatcher
        self._requests = requests
        self._http = http
        self._started_at = time.time()
        self._manager = ServiceManager(os.environ)
        self._control = Control.of_agent(agent, self._status)
        self._socket = AgentSocket(self._control)
        self._heartbeat = None if poll is None else Heartbeat(agent, poll)
        self._side_threads = tuple(_side_threads(agent, poll))

    def start(self) -> None:
        """Start the workers with what earlier daemons left, then let others ask the agent."""
        recover.reconcile(self._agent)
        self._dispatcher.start(self._agent, self._poll)
        self._socket.start()
        if self._http is not None:
            self._http.start(self._control, self._hindrances)
        if self._heartbeat is not None:
            self._heartbeat.start()
        for thread in self._side_threads:
            thread.start()
        self._manager.ready("takes tasks")
        logger.info(
            "keruta %s is ready, base directory %s",
            __version__,
            self._agent.settings.base_dir,
            extra={"action": "agent_ready", "pid": os.getpid()},
        )

    def run(self, reload_settings: Callable[[], Settings]) -> None:
        """Return when the daemon is to end, or to replace itself.

        Raises:
            AgentStateError: the base directory was removed.
        """
        state_files = StateFiles(self._agent)
        MainLoop(
            self._agent,
            self._poll,
            self._dispatcher,
            self._requests,
            self._manager,
            reload_settings,
            state_files,
        ).run()
        with contextlib.suppress(sqlite3.OperationalError):  # the disk may be full
            # What is left behind on purpose is no failure of the agent.
            quarantine.forget_stage(self._agent)
        state_files.check_base()

    def make_way(self) -> None:
        """Release what a new image of the program needs; everything else ends with this one."""
        self._stop_side_threads(leaves=False)
        self._socket.stop()
        self._agent.launcher.close()
        self._manager.reloading()

    def stop(self) -> None:
        """Send what is left, then stop every part; a running script continues."""
        at_once = self._requests.count >= LEAVE_AT_ONCE
        self._stop_side_threads(leaves=not at_once)
        self._manager.stopping("sends the API what is left")
        if not at_once:
            drain_outbox(self._agent)
        self._socket.stop()
        self._dispatcher.stop(0.0 if at_once else STOP_WORKERS_S)
        self._agent.launcher.close()
        self._agent.records.database.close()
        logger.info("keruta has stopped", extra={"action": "agent_stopped"})

    def _stop_side_threads(self, *, leaves: bool) -> None:
        """Stop what works beside the queue; an agent that leaves gives up its lease."""
        for thread in self._side_threads:
            thread.stop()
        if self._http is not None:
            self._http.stop()
        if self._heartbeat is not None:
            self._heartbeat.stop(leaves=leaves)

    def _status(self) -> Mapping[str, Any]:
        poll = self._poll
        status = describe(
            self._agent,
            started_at=self._started_at,
            session_id=None if poll is None else poll.session_id,
            api_problem=None if poll is None else poll.api_problem,
            session_problem=None if poll is None else poll.session_problem,
        )
        return {**status, "http": None if self._http is None else self._http.url}

    def _hindrances(self) -> Mapping[str, str]:
        """Return what keeps the daemon from taking and running tasks, by the part it is about."""
        found = {}
        if (workers := self._dispatcher.hindrance()) is not None:
            found["workers"] = workers
        if self._poll is not None and self._poll.session_id is None:
            unknown = "the API has not answered yet which session to serve"
            found["session"] = self._poll.session_problem or unknown
        return found


class _SideThread(Protocol):
    def start(self) -> None: ...

    def stop(self) -> None: ...


def _side_threads(agent: Agent, poll: SessionPoll | None) -> Iterator[_SideThread]:
    """Yield the threads that the settings ask for."""
    for thread in (event_listener(agent, poll), answer_poll(agent), keep_awake(agent)):
        if thread is not None:
            yield thread


@contextlib.contextmanager
def _pid_file(path: Path | None) -> Iterator[None]:
    if path is None:
        yield
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{os.getpid()}\n", encoding="ascii")
    except OSError as exc:
        raise errors.AgentStateError(f"cannot write the pid file {path}: {exc.strerror}") from exc
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
