"""The daemon's process: what is started in which order, what ends it, and how it stops."""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from keruta_agent import __version__, errors
from keruta_agent.daemon.events import EventListener
from keruta_agent.daemon.lock import agent_lock
from keruta_agent.daemon.signals import StopRequests
from keruta_agent.daemon.wiring import build_agent, configured_api
from keruta_agent.journey import recover
from keruta_agent.journey.agent import Agent
from keruta_agent.journey.poll import SessionPoll
from keruta_agent.local.socket_server import AgentSocket
from keruta_agent.queueing.dispatcher import Dispatcher
from keruta_agent.settings.schema import Settings

logger = logging.getLogger(__name__)

#: Seconds between looks at the workers and at the session.
LOOK_S: Final = 1.0
WORKER_CHECK_S: Final = 10.0
#: Seconds between looks whether the last job has ended, once the daemon was asked to stop.
STOP_LOOK_S: Final = 0.1
#: Seconds that a stopping daemon spends on telling the API what it still has.
LAST_WORDS_S: Final = 15.0
STOP_WORKERS_S: Final = 5.0


def run_daemon(settings: Settings, *, stop_requests: StopRequests | None = None) -> None:
    """Runs the daemon until its session has ended, or somebody stops it.

    Raises:
        KerutaError: it cannot be started.
    """
    requests = stop_requests or StopRequests()
    with agent_lock(settings.base_dir), _pid_file(settings.pid_file), requests.heard():
        dispatcher = Dispatcher(settings.base_dir, settings.poll_interval_s)
        agent = build_agent(settings, dispatcher, configured_api(settings))
        poll = _session_poll(agent)
        door = AgentSocket(agent, lambda: describe(agent, poll))
        dispatcher.start(agent, poll, recover.reconcile(agent))
        door.start()
        listener = _listener(agent, poll, dispatcher)
        logger.info(
            "keruta %s is ready, base directory %s",
            __version__,
            settings.base_dir,
            extra={"action": "agent_ready", "pid": os.getpid()},
        )
        try:
            _watch(agent, poll, dispatcher, requests)
        finally:
            if listener is not None:
                listener.stop()
            if requests.count < 3:
                _last_words(agent)
            door.stop()
            dispatcher.stop(STOP_WORKERS_S if requests.count < 3 else 0.0)
            agent.database.close()
            logger.info("keruta has stopped", extra={"action": "agent_stopped"})


def describe(agent: Agent, poll: SessionPoll | None) -> Mapping[str, Any]:
    """Returns what the daemon does at the moment, for people and their programs."""
    active = agent.runs.active()
    outbox = agent.outbox.counts()
    return {
        "pid": os.getpid(),
        "version": __version__,
        "session": None if poll is None else poll.session_id,
        "running": None if active is None else active[0].id,
        "jobs": {state.value: number for state, number in agent.jobs.counts().items()},
        "outbox": {"pending": outbox.pending, "parked": outbox.parked},
        "api_away": agent.courier is not None and agent.courier.api_is_away,
    }


def _session_poll(agent: Agent) -> SessionPoll | None:
    if agent.api is None:
        logger.warning(
            "no API is configured (KERUTA_API_URL): runs only what `keruta execute` hands in",
            extra={"action": "no_api"},
        )
        return None
    poll = SessionPoll(agent, agent.api)
    try:
        poll.resolve()
    except errors.ApiError as exc:
        logger.warning(
            "cannot ask the API which session to serve, goes on trying: %s",
            exc,
            extra={"action": "session_unresolved"},
        )
    return poll


def _listener(
    agent: Agent, poll: SessionPoll | None, dispatcher: Dispatcher
) -> EventListener | None:
    if agent.api is None or poll is None or not agent.settings.api_events:
        return None
    listener = EventListener(agent.api, poll, dispatcher.poll_now)
    listener.start()
    return listener


def _watch(
    agent: Agent, poll: SessionPoll | None, dispatcher: Dispatcher, requests: StopRequests
) -> None:
    """Returns when the daemon is to end."""
    next_check = time.monotonic() + WORKER_CHECK_S
    heeded = 0
    while requests.count < 3:
        requests.arrived.wait(STOP_LOOK_S if heeded else LOOK_S)
        requests.arrived.clear()
        if requests.count > heeded:
            heeded = requests.count
            _heed(agent, dispatcher, heeded)
        if heeded and dispatcher.wait_for_job(0):
            return
        if poll is not None and poll.ended.is_set() and _may_leave(agent):
            return
        if time.monotonic() >= next_check:
            next_check = time.monotonic() + WORKER_CHECK_S
            dispatcher.check_workers()


def _heed(agent: Agent, dispatcher: Dispatcher, count: int) -> None:
    """Does what the first, the second and the third request to stop mean."""
    active = agent.runs.active()
    running = f"job {active[0].id} is running" if active else "nothing is running"
    if count == 1:
        logger.info(
            "asked to stop: takes no more jobs, %s; ask again to stop it",
            running,
            extra={"action": "stopping"},
        )
        dispatcher.stop_taking_jobs()
    elif count == 2 and active is not None:
        logger.warning("asked again: stops job %d", active[0].id, extra={"action": "stopping_job"})
        agent.runs.cancel_job(active[0].id, "The agent was stopped")
        agent.doorbell.ring()
    elif count > 2:
        logger.warning(
            "leaves at once: %s, and the next daemon goes on with it",
            running,
            extra={"action": "leaving"},
        )


def _may_leave(agent: Agent) -> bool:
    if agent.settings.keep_alive:
        return False
    return not agent.jobs.has_open()


def _last_words(agent: Agent) -> None:
    """Tells the API what it can be told now; the rest waits in the outbox."""
    deadline = time.monotonic() + LAST_WORDS_S
    while agent.courier is not None and time.monotonic() < deadline:
        due_in_s = agent.courier.deliver(deadline - time.monotonic())
        if due_in_s is None:
            return
        if agent.courier.api_is_away:
            break
        time.sleep(min(due_in_s, 0.1))
    left = agent.outbox.counts().pending
    if left:
        logger.warning(
            "%d messages could not be told to the API; the next daemon sends them",
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
