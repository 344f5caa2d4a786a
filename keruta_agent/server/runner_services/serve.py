"""The services around the Agent Runner, served on three ports in threads of this process."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import flask

from keruta_agent.git.access.credentials import GitAccess
from keruta_agent.http.access import is_loopback
from keruta_agent.http.listener import Listener
from keruta_agent.server.runner_services import artifacts, pool, registry
from keruta_agent.server.runner_services.application import create_application
from keruta_agent.server.runner_services.lending import MOST_WAITING
from keruta_agent.server.runner_services.slots import Slots
from keruta_agent.server.runner_services.store import Store

logger = logging.getLogger(__name__)

REGISTRY: Final = "Task Registry"
POOL: Final = "Repo Pool Manager"
STORE: Final = "Artifact Store"

#: Threads for requests that end soon.
_THREADS: Final = 16
_MOST_CONNECTIONS: Final = 500
#: Seconds that a connection may stand still in the middle of a request, or idle between two.
_CONNECTION_TIMEOUT_S: Final = 60
_LOOK_INTERVAL_S: Final = 0.2

#: Days that artifacts of each type are kept.
RETENTION_DAYS: Final[Mapping[str, float]] = MappingProxyType({"diff": 30, "log": 7, "test": 14})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """How the services are run."""

    host: str = "127.0.0.1"
    #: Ports; 0 takes a free one.
    registry_port: int = 8001
    pool_port: int = 8002
    store_port: int = 8003
    token: str | None = dataclasses.field(default=None, repr=False)
    #: Slots of one repository.
    pool_size: int = 5
    git: GitAccess = dataclasses.field(default_factory=GitAccess)
    retention_days: Mapping[str, float] = dataclasses.field(
        default_factory=lambda: dict(RETENTION_DAYS)
    )
    #: Bytes.
    max_artifact_size: int = 1024 * 1024 * 1024


class RunnerServices:
    """The three services, with what they keep in one directory."""

    def __init__(self, data_dir: Path, options: Options) -> None:
        self._data_dir = data_dir
        self._options = options
        self._opened = contextlib.ExitStack()
        #: Where each service listens, by its name.
        self.urls: dict[str, str] = {}

    def start(self) -> None:
        """Bind the ports and serve in background threads; return when requests are taken.

        Raises:
            AgentStateError: a port or the data directory cannot be used.
        """
        options = self._options
        with contextlib.ExitStack() as opened:
            store = Store.open(self._data_dir, options.retention_days)
            opened.callback(store.close)
            slots = Slots(store, size=options.pool_size, access=options.git)
            listeners = []
            for name, port, app in (
                (REGISTRY, options.registry_port, registry_application(store, options)),
                (POOL, options.pool_port, pool_application(store, slots, options)),
                (STORE, options.store_port, store_application(store, options)),
            ):
                listener = self._bound(name, port, app)
                opened.callback(listener.stop)
                listeners.append(listener)
            slots.start()
            for listener in listeners:
                listener.start()
            # Closed first: clients that wait for a slot would hold up the listener.
            opened.callback(slots.close)
            self._opened = opened.pop_all()
        logger.info(
            "the runner's services listen on %s",
            ", ".join(self.urls.values()),
            extra={"action": "server_started"},
        )

    def _bound(self, name: str, port: int, app: flask.Flask) -> Listener:
        listener = Listener(
            app,
            host=self._options.host,
            port=port,
            threads=_THREADS + (MOST_WAITING if name == POOL else 0),
            timeout_s=_CONNECTION_TIMEOUT_S,
            look_interval_s=_LOOK_INTERVAL_S,
            most_connections=_MOST_CONNECTIONS,
            slow_clients=_THREADS // 2,
        )
        self.urls[name] = listener.url
        return listener

    def stop(self) -> None:
        """Finish the requests in flight and close the database."""
        self._opened.close()


def registry_application(store: Store, options: Options) -> flask.Flask:
    """Return the Task Registry."""
    return _application(REGISTRY, store, options)


def pool_application(store: Store, slots: Slots, options: Options) -> flask.Flask:
    """Return the Repo Pool Manager."""
    app = _application(POOL, store, options)
    app.extensions[pool.SLOTS_KEY] = slots
    return app


def store_application(store: Store, options: Options) -> flask.Flask:
    """Return the Artifact Store."""
    app = _application(STORE, store, options)
    app.extensions[artifacts.LIMIT_KEY] = options.max_artifact_size
    return app


_RESOURCES: Final = {
    REGISTRY: registry.resource,
    POOL: pool.resource,
    STORE: artifacts.resource,
}


def _application(name: str, store: Store, options: Options) -> flask.Flask:
    return create_application(
        name,
        store,
        _RESOURCES[name],
        token=options.token,
        loopback=is_loopback(options.host),
    )
