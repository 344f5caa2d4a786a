"""The services around the Agent Runner, served on three ports in threads of this process."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from keruta_agent.git.access.credentials import GitAccess
from keruta_agent.http.access import is_loopback
from keruta_agent.http.application import Application
from keruta_agent.http.proxies import Proxies
from keruta_agent.http.serving.host import STOP_TIMEOUT_S, Host
from keruta_agent.http.serving.tls import Tls
from keruta_agent.server.access.grants import Grants
from keruta_agent.server.readiness import Readiness, readiness_of
from keruta_agent.server.runner_services import artifacts, pool, registry
from keruta_agent.server.runner_services.application import create_application
from keruta_agent.server.runner_services.context import Services
from keruta_agent.server.runner_services.retention import Retention
from keruta_agent.server.runner_services.slots import Slots
from keruta_agent.server.serve import reload_certificate
from keruta_agent.server.store.artifacts.location import ArtifactLocation
from keruta_agent.server.store.database import Database, open_database
from keruta_agent.server.store.store import Store

logger = logging.getLogger(__name__)

REGISTRY: Final = "Task Registry"
POOL: Final = "Repo Pool Manager"
STORE: Final = "Artifact Store"

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
    #: None keeps everything in a file of the data directory.
    database_url: str | None = dataclasses.field(default=None, repr=False)
    #: Directory of the server whose tokens are good here; None for those in the own database. Those
    #: of a database at a URL are.
    tokens_dir: Path | None = None
    #: None keeps artifacts in the data directory.
    artifacts: ArtifactLocation | None = None
    #: In front of the services.
    proxies: Proxies = dataclasses.field(default_factory=Proxies)
    #: None speaks plain HTTP.
    tls: Tls | None = None
    #: Seconds for requests in flight when the services stop.
    stop_timeout_s: float = STOP_TIMEOUT_S


class RunnerServices:
    """The three services, with what they keep in one directory."""

    def __init__(self, data_dir: Path, options: Options) -> None:
        self._data_dir = data_dir
        self._options = options
        self._opened = contextlib.ExitStack()
        self._hosts: list[Host] = []
        self._readiness: Readiness | None = None
        #: Where each service listens, by its name.
        self.urls: dict[str, str] = {}

    def start(self) -> None:
        """Bind the ports and serve in background threads; return when requests are taken.

        Raises:
            AgentStateError: a port, the data directory or the database cannot be used.
            SettingsError: the database URL is invalid.
        """
        options = self._options
        with contextlib.ExitStack() as opened:
            services = opened.enter_context(open_services(self._data_dir, options))
            for name, port in (
                (REGISTRY, options.registry_port),
                (POOL, options.pool_port),
                (STORE, options.store_port),
            ):
                app = application_of(name, services, options)
                opened.callback(app.close)
                host = Host(
                    app,
                    host=options.host,
                    port=port,
                    tls=options.tls,
                    stop_timeout_s=options.stop_timeout_s,
                )
                opened.callback(host.stop)
                host.start()
                self._hosts.append(host)
                self.urls[name] = host.url
            # Once more, and first: requests that wait for a slot would hold up their host.
            opened.callback(services.slots.close)
            self._readiness = services.readiness
            self._opened = opened.pop_all()
        logger.info(
            "the runner's services listen on %s",
            ", ".join(self.urls.values()),
            extra={"action": "server_started"},
        )

    def reload_tls(self) -> None:
        """Read certificate and key anew, if there are any."""
        if self._options.tls is not None:
            for host in self._hosts:
                reload_certificate(host)

    def begin_drain(self) -> None:
        """Be ready no more, and go on answering; clients connect anew, elsewhere."""
        if self._readiness is not None:
            self._readiness.stop()
        for host in self._hosts:
            host.begin_drain()

    def stop(self) -> None:
        """Finish the requests in flight and close the database."""
        self._opened.close()


@contextlib.contextmanager
def open_services(data_dir: Path, options: Options) -> Iterator[Services]:
    """Open what the three services share for the length of the block.

    Raises:
        AgentStateError: the data directory or the database cannot be used.
        SettingsError: the database URL is invalid.
    """
    with (
        contextlib.closing(Store.open(data_dir, options.database_url, options.artifacts)) as store,
        contextlib.closing(Retention(store, options.retention_days)) as retention,
        contextlib.closing(Slots(store, size=options.pool_size, access=options.git)) as slots,
        _tokens(store, options) as database,
    ):
        retention.start()
        slots.start()
        grants = Grants(database, token=options.token)
        grants.refresh()
        yield Services(
            store=store,
            slots=slots,
            retention=retention,
            grants=grants,
            readiness=readiness_of(store),
            max_artifact_size=options.max_artifact_size,
        )


@contextlib.contextmanager
def _tokens(store: Store, options: Options) -> Iterator[Database]:
    """Open the database that holds the tokens for the length of the block."""
    if options.tokens_dir is None or options.database_url is not None:
        yield store.database
        return
    with contextlib.closing(open_database(options.tokens_dir, None)) as database:
        yield database


_RESOURCES: Final = {
    REGISTRY: registry.resource,
    POOL: pool.resource,
    STORE: artifacts.resource,
}


def application_of(name: str, services: Services, options: Options) -> Application:
    """Return the application of one service."""
    app = create_application(
        name,
        services,
        _RESOURCES[name],
        loopback=is_loopback(options.host),
    )
    app.proxies = options.proxies
    return app
