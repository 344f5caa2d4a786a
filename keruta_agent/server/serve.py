"""The embedded keruta API, served on a port by a thread of this process."""

from __future__ import annotations

import contextlib
import functools
import logging
from pathlib import Path

from keruta_agent.core import errors
from keruta_agent.http.access import is_loopback
from keruta_agent.http.proxies import Proxies
from keruta_agent.http.serving.host import STOP_TIMEOUT_S, Host
from keruta_agent.http.serving.tls import Tls
from keruta_agent.server.application import create_application
from keruta_agent.server.readiness import Readiness
from keruta_agent.server.retention import rounds
from keruta_agent.server.retention.policy import Policy
from keruta_agent.server.store.artifacts.location import ArtifactLocation
from keruta_agent.server.store.periodic import Periodic
from keruta_agent.server.store.secret_answers import open_answers
from keruta_agent.server.store.store import Store

logger = logging.getLogger(__name__)


class Server:
    """The embedded keruta API."""

    def __init__(
        self,
        data_dir: Path,
        *,
        host: str = "127.0.0.1",
        port: int = 8000,
        token: str | None = None,
        database_url: str | None = None,
        artifacts: ArtifactLocation | None = None,
        proxies: Proxies | None = None,
        tls: Tls | None = None,
        secret_key: str | None = None,
        stop_timeout_s: float = STOP_TIMEOUT_S,
        retention: Policy | None = None,
    ) -> None:
        self._data_dir = data_dir
        self._host = host
        self._port = port
        self._token = token
        self._database_url = database_url
        self._artifacts = artifacts
        self._proxies = proxies
        self._tls = tls
        self._secret_key = secret_key
        self._stop_timeout_s = stop_timeout_s
        self._retention = retention or Policy()
        self._server: Host | None = None
        self._readiness: Readiness | None = None
        self._opened = contextlib.ExitStack()

    def start(self) -> None:
        """Bind the port and serve in a background thread; return when requests are taken.

        Raises:
            AgentStateError: the port or the data directory cannot be used.
            SettingsError: the database URL is invalid.
        """
        with contextlib.ExitStack() as opened:
            store = opened.enter_context(
                contextlib.closing(Store.open(self._data_dir, self._database_url, self._artifacts))
            )
            store.secret_answers = opened.enter_context(
                contextlib.closing(open_answers(store.database, self._secret_key))
            )
            app = create_application(
                store,
                token=self._token,
                loopback=is_loopback(self._host),
                proxies=self._proxies,
            )
            opened.callback(app.close)
            server = Host(
                app,
                host=self._host,
                port=self._port,
                tls=self._tls,
                stop_timeout_s=self._stop_timeout_s,
            )
            opened.callback(server.stop)
            server.start()
            if self._retention.is_set:
                steps = functools.partial(rounds.prune, store, self._retention)
                pruning = Periodic("server-retention", steps)
                opened.callback(pruning.close)
                pruning.start()
            self._server, self._readiness = server, app.context.readiness
            self._opened = opened.pop_all()
        logger.info("listening on %s", self.url, extra={"action": "server_started"})

    @property
    def url(self) -> str:
        """Where the server listens, such as ``http://127.0.0.1:43211``."""
        if self._server is None:
            return f"http://{self._host}:{self._port}"
        return self._server.url

    def reload_tls(self) -> None:
        """Read certificate and key anew, if there are any."""
        if self._server is not None and self._tls is not None:
            reload_certificate(self._server)

    def begin_drain(self) -> None:
        """Be ready no more, so that proxies send requests elsewhere; those that come are served."""
        if self._server is not None and self._readiness is not None:
            self._readiness.stop()
            self._server.begin_drain()

    def stop(self) -> None:
        """End the streams, finish the requests in flight and close the database."""
        if self._server is None:
            return
        self._opened.close()
        self._server = None
        logger.info("stopped", extra={"action": "server_stopped"})


def reload_certificate(host: Host) -> None:
    """Read a host's certificate and key anew, for connections from now on.

    Where they cannot be used, those read before stay in use, and the log says so.
    """
    try:
        host.reload_tls()
        logger.info("the certificate was read anew", extra={"action": "server_tls"})
    except errors.AgentStateError as exc:
        logger.error("%s; the old one stays in use", exc, extra={"action": "server_tls"})
