"""The daemon's process: what is started in which order, what ends it, and how it stops."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from keruta_agent import __version__
from keruta_agent.agent.control.control import Control
from keruta_agent.agent.control.socket.socket_server import AgentSocket
from keruta_agent.agent.control.status import describe
from keruta_agent.agent.daemon import lock, watch
from keruta_agent.agent.daemon.answers import start_answer_poll
from keruta_agent.agent.daemon.awake import start_keep_awake
from keruta_agent.agent.daemon.events import EventListener
from keruta_agent.agent.daemon.first_contact import FirstContact
from keruta_agent.agent.daemon.heartbeat import Heartbeat
from keruta_agent.agent.daemon.http import http_api
from keruta_agent.agent.daemon.state_files import StateFiles
from keruta_agent.agent.daemon.systemd import ServiceManager
from keruta_agent.agent.daemon.watch import LEAVE_AT_ONCE
from keruta_agent.agent.daemon.wiring import build_agent, configured_api
from keruta_agent.agent.journey import quarantine, recover
from keruta_agent.agent.journey.agent import Agent
from keruta_agent.agent.journey.poll import SessionPoll
from keruta_agent.agent.queue.dispatcher import Dispatcher
from keruta_agent.agent.run import processes
from keruta_agent.agent.store.outbox import Lane
from keruta_agent.core import errors
from keruta_agent.core.log import keys
from keruta_agent.core.process_tree import dispositions
from keruta_agent.core.process_tree.program import take_charge
from keruta_agent.core.settings.schema import Settings
from keruta_agent.core.signals import ALL_SIGNALS, StopRequests

logger = logging.getLogger(__name__)

#: Seconds that a stopping daemon spends on draining the outbox.
DRAIN_S: Final = 15.0
STOP_WORKERS_S: Final = 5.0
#: Seconds between looks whether all is sent.
LOOK_S: Final = 0.1


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
    manager = ServiceManager(os.environ)
    with (
        lock.agent_lock(settings.base_dir) as locked,
        requests.heard(),  # before the file shows others where to send signals
        _pid_file(settings.pid_file),
        http_api(settings, is_on=serves_http) as http,
    ):
        started_at = time.time()
        dispatcher = Dispatcher(settings.base_dir, settings.poll_interval_s)
        agent = build_agent(settings, dispatcher, configured_api(settings))
        poll = _session_poll(agent)

        def status() -> Mapping[str, Any]:
            session_id = None if poll is None else poll.session_id
            found = describe(
                agent,
                session_id=session_id,
                started_at=started_at,
                api_problem=None if poll is None else poll.api_problem,
                session_problem=None if poll is None else poll.session_problem,
            )
            return {**found, "http": None if http is None else http.url}

        control = Control.of_agent(agent, status)
        door = AgentSocket(control)
        dispatcher.start(agent, poll, recover.reconcile(agent))
        door.start()
        if http is not None:
            http.start(control, lambda: hindrances(dispatcher, poll))
        listener = _listener(agent, poll, dispatcher)
        heartbeat = None if poll is None else Heartbeat(agent, poll)
        if heartbeat is not None:
            heartbeat.start()
        beside = (listener, start_answer_poll(agent), start_keep_awake(agent), http)
        manager.ready("takes tasks")
        logger.info(
            "keruta %s is ready, base directory %s",
            __version__,
            settings.base_dir,
            extra={"action": "agent_ready", "pid": os.getpid()},
        )
        try:
            state_files = StateFiles(agent)
            watch.until_end(
                agent, poll, dispatcher, requests, manager, reload_settings, state_files
            )
            with contextlib.suppress(sqlite3.OperationalError):  # the disk may be full
                # What is left behind on purpose is no failure of the agent.
                quarantine.forget_stage(agent)
            state_files.check_base()
        finally:
            for part in beside:
                if part is not None:
                    part.stop()
            stays = requests.wants_replacement or requests.count >= LEAVE_AT_ONCE
            if heartbeat is not None:
                heartbeat.stop(leaves=not stays)
            if requests.wants_replacement:
                door.stop()
                agent.launcher.close()
                manager.reloading()
                replace_process(requests, locked)
            manager.stopping("sends the API what is left")
            if requests.count < LEAVE_AT_ONCE:
                _drain_outbox(agent)
            door.stop()
            dispatcher.stop(STOP_WORKERS_S if requests.count < LEAVE_AT_ONCE else 0.0)
            agent.launcher.close()
            agent.records.database.close()
            logger.info("keruta has stopped", extra={"action": "agent_stopped"})


def replace_process(requests: StopRequests, locked: int) -> None:
    """Put a new image of the program in the place of this one; a running script is adopted.

    The records need no closing: what is cut off here is what kill -9 would cut off.
    """
    logger.info("replaces itself", extra={"action": "agent_replaced", "pid": os.getpid()})
    logging.shutdown()
    requests.hand_over()
    dispositions.restore_ignored()
    lock.hand_over(locked)
    keys.hide(keys.secret_names(os.environ))
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606 - no shell is wanted


def hindrances(dispatcher: Dispatcher, poll: SessionPoll | None) -> Mapping[str, str]:
    """Return what keeps the daemon from taking and running tasks, by the part it is about."""
    found = {}
    if (workers := dispatcher.hindrance()) is not None:
        found["workers"] = workers
    if poll is not None and poll.session_id is None:
        unknown = "the API has not answered yet which session to serve"
        found["session"] = poll.session_problem or unknown
    return found


def _session_poll(agent: Agent) -> SessionPoll | None:
    if agent.api is None:
        logger.warning(
            "no API is configured (KERUTA_API_URL): runs only what `keruta execute` hands in",
            extra={"action": "no_api"},
        )
        return None
    poll = SessionPoll(agent, agent.api)
    contact = FirstContact(agent, agent.api, poll)
    contact.start()
    contact.wait()
    return poll


def _listener(
    agent: Agent, poll: SessionPoll | None, dispatcher: Dispatcher
) -> EventListener | None:
    if agent.api is None or poll is None or not agent.settings.api_events:
        return None

    def look_now() -> None:
        dispatcher.poll_now()
        agent.prompt_lock.changed.set()

    listener = EventListener(agent.api, poll, look_now)
    listener.start()
    return listener


def _drain_outbox(agent: Agent) -> None:
    """Send the API what it takes now; the rest waits in the outbox.

    Files are sent by their worker meanwhile: a large one is cut off, not waited for.
    """
    deadline = time.monotonic() + DRAIN_S
    while agent.outbox_sender is not None and time.monotonic() < deadline:
        try:
            agent.outbox_sender.deliver(deadline - time.monotonic(), Lane.WORDS)
        except sqlite3.OperationalError as exc:
            if not agent.disk.is_unwritable(exc):
                raise
            break
        dues = [agent.outbox_sender.due_in_s(lane) for lane in Lane]
        if dues == [None, None] or agent.outbox_sender.api_is_away:
            break
        agent.queue.outbox_filled()
        time.sleep(LOOK_S)
    left = agent.records.outbox.counts().pending
    if left:
        logger.warning(
            "%d messages could not be sent to the API; the next daemon sends them",
            left,
            extra={"action": "outbox_left"},
        )


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
