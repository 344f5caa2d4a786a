"""``keruta server``: the embedded keruta API."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING, Any, Final

import click

from keruta_agent.cli.options import Group, PathType, load
from keruta_agent.cli.server_audit import audit
from keruta_agent.cli.server_backup import backup, restore
from keruta_agent.cli.server_prune import policy_of, prune, retention_options
from keruta_agent.cli.server_runner import (
    refuse_idle_options,
    runner_service_options,
    runner_services,
)
from keruta_agent.cli.server_token import token as token_commands
from keruta_agent.core import errors

if TYPE_CHECKING:
    from pathlib import Path

    from keruta_agent.core.signals import StopRequests
    from keruta_agent.http.proxies import Proxies
    from keruta_agent.http.serving.tls import Tls
    from keruta_agent.server.runner_services.serve import RunnerServices
    from keruta_agent.server.serve import Server

#: Files that the server asks the system for: a thousand agents keep two connections each.
OPEN_FILES: Final = 16_384


@click.group(cls=Group, invoke_without_command=True)
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option(
    "--port", type=click.IntRange(0, 65535), default=8000, show_default=True, help="0: a free one."
)
@click.option(
    "--data",
    type=PathType(file_okay=False),
    help="Directory for database and artifacts.  [default: server/ in the base directory]",
)
@click.option("--token", envvar="KERUTA_SERVER_TOKEN", help="Ask clients for this bearer token.")
@click.option(
    "--database-url",
    envvar="KERUTA_SERVER_DATABASE_URL",
    help="Another database than SQLite in the data directory, such as postgresql://...",
)
@click.option(
    "--artifact-store",
    envvar="KERUTA_SERVER_ARTIFACT_STORE",
    metavar="URL",
    help="Where artifacts are kept: file: (the data directory, the default) or s3://BUCKET/PREFIX.",
)
@click.option(
    "--root-path",
    envvar="KERUTA_SERVER_ROOT_PATH",
    metavar="PATH",
    help="Path under which a reverse proxy serves it, such as /tools/keruta.",
)
@click.option(
    "--trusted-proxy",
    "trusted_proxies",
    envvar="KERUTA_SERVER_TRUSTED_PROXIES",
    multiple=True,
    metavar="ADDRESS",
    help="Address or network of a proxy whose X-Forwarded-Prefix, -Proto and -For are believed,"
    " beside those on this machine.",
)
@click.option(
    "--tls-cert",
    envvar="KERUTA_SERVER_TLS_CERT",
    type=PathType(dir_okay=False),
    help="Certificate in PEM form, with those that vouch for it; SIGHUP reads it anew.",
)
@click.option(
    "--tls-key",
    envvar="KERUTA_SERVER_TLS_KEY",
    type=PathType(dir_okay=False),
    help="Its private key in PEM form, without a password.",
)
@click.option(
    "--secret-key-file",
    envvar="KERUTA_SERVER_SECRET_KEY_FILE",
    type=PathType(dir_okay=False),
    help="Key by which servers on one PostgreSQL share answers to secret questions; or in"
    " KERUTA_SERVER_SECRET_KEY.",
)
@click.option(
    "--drain",
    "drain_s",
    envvar="KERUTA_SERVER_DRAIN",
    type=click.FloatRange(0, 3600),
    default=0,
    metavar="SECONDS",
    help="How long it goes on answering after SIGTERM, no longer ready (/health/ready), until what"
    " distributes requests has noticed.",
)
@retention_options
@runner_service_options
@click.pass_context
def server(
    ctx: click.Context,
    /,
    host: str,
    port: int,
    data: Path | None,
    token: str | None,
    database_url: str | None,
    artifact_store: str | None,
    root_path: str | None,
    trusted_proxies: tuple[str, ...],
    tls_cert: Path | None,
    tls_key: Path | None,
    secret_key_file: Path | None,
    drain_s: float,
    retain_sessions: str | None,
    retain_logs: str | None,
    retain_artifacts: str | None,
    retain_coding: str | None,
    prune_live_sessions: bool,
    **services: Any,
) -> None:
    """Serve the keruta API from this machine, for one person's sessions.

    Prints where it listens when it is ready. A token, and a database's URL with a password, are
    better given by the variables KERUTA_SERVER_TOKEN and KERUTA_SERVER_DATABASE_URL than on the
    command line, which other users can see.

    With --runner-services the services around the Agent Runner are served as well: Task Registry,
    Repo Pool Manager and Artifact Store, each on a port of its own, with the same kind of database.
    GIT_TOKEN lets the pool clone what is not public.

    Keys, region and endpoint of an artifact store come from its own variables, such as
    AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_REGION and AWS_ENDPOINT_URL.

    SIGHUP reads the certificate of --tls-cert anew; connections that are open keep the old one.
    SIGTERM ends it when the requests in flight are answered, after --drain; a second one at once.

    \b
    Examples:
      keruta server
      keruta server --runner-services --pool-size 10
      KERUTA_SERVER_TOKEN=... keruta server --port 9000 --data /var/lib/keruta
    """
    if ctx.invoked_subcommand is not None:
        return
    from keruta_agent.core.log import keys
    from keruta_agent.core.process_tree.program import take_charge
    from keruta_agent.core.signals import StopRequests
    from keruta_agent.http.proxies import Proxies
    from keruta_agent.http.serving import host as http_host
    from keruta_agent.http.serving import limits
    from keruta_agent.server.serve import Server
    from keruta_agent.server.store import restored
    from keruta_agent.server.store.artifacts.location import ArtifactLocation

    keys.put_away()  # tests of a coding task may run as the same user, and look into this process
    take_charge()

    if not host.strip():
        raise errors.UsageError("the host is empty", advice="Give an address, such as 127.0.0.1")
    refuse_idle_options(ctx, services)
    proxies = _proxies(root_path or "", trusted_proxies)
    tls = _tls(tls_cert, tls_key)
    artifacts = ArtifactLocation.read(artifact_store, os.environ)
    retention = policy_of(
        retain_sessions,
        retain_logs,
        retain_artifacts,
        retain_coding,
        in_live_sessions=prune_live_sessions,
    )
    limits.allow_open_files(OPEN_FILES)
    data_dir = data or load(ctx).settings.base_dir / "server"
    if data_dir.is_dir():
        restored.settle(data_dir)
    common: dict[str, Any] = {
        "host": host,
        "token": token,
        "database_url": database_url,
        "artifacts": artifacts,
        "tls": tls,
        "stop_timeout_s": max(drain_s, http_host.STOP_TIMEOUT_S),
    }
    lines = []
    served: list[Server | RunnerServices] = []
    with contextlib.ExitStack() as running:
        # Before signals are heard: it may wait for a database, and Ctrl-C has to end that.
        if not services["runner_services_only"]:
            api = Server(
                data_dir,
                port=port,
                proxies=proxies,
                secret_key=_secret_key(secret_key_file),
                retention=retention,
                **common,
            )
            api.start()
            running.callback(api.stop)
            lines.append(f"listening on {api.url}")
            served.append(api)
        if services["runner_services"] or services["runner_services_only"]:
            # They are under no path of a proxy.
            peers = Proxies(trusted=proxies.trusted)
            around = runner_services(ctx, data_dir, services, proxies=peers, **common)
            around.start()
            running.callback(around.stop)
            lines += [f"{name} on {url}" for name, url in around.urls.items()]
            served.append(around)
        with StopRequests().heard() as requests:
            click.echo("\n".join(lines))
            _serve(requests, served, drain_s)


server.add_command(audit)
server.add_command(backup)
server.add_command(restore)
server.add_command(token_commands)
server.add_command(prune)


def _serve(requests: StopRequests, served: list[Server | RunnerServices], drain_s: float) -> None:
    """Wait for the stop, and drain; a SIGHUP has certificates read anew."""
    while not requests.count:
        requests.wait()
        if not requests.replace:
            continue
        requests.replace = False
        for each in served:
            each.reload_tls()
    for each in served:
        each.begin_drain()
    drained_at = time.monotonic() + drain_s
    while requests.count < 2 and (left_s := drained_at - time.monotonic()) > 0:
        requests.wait(left_s)


def _secret_key(file: Path | None) -> str | None:
    """Return the key that is in a file, or in the environment.

    Raises:
        UsageError: it is in both, or the file cannot be read.
    """
    key = os.environ.get("KERUTA_SERVER_SECRET_KEY", "").strip()
    if file is None:
        return key or None
    if key:
        raise errors.UsageError(
            "the secret key is given twice",
            advice="Give --secret-key-file or KERUTA_SERVER_SECRET_KEY, not both",
        )
    try:
        return file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as exc:
        raise errors.UsageError(
            f"cannot read the secret key from {file}: {exc}",
            advice="Make one with: openssl rand -base64 32",
        ) from None


def _tls(certificate: Path | None, key: Path | None) -> Tls | None:
    """Return the certificate that options name.

    Raises:
        UsageError: one of two files is missing.
    """
    from keruta_agent.http.serving.tls import Tls

    if certificate is None and key is None:
        return None
    if certificate is None or key is None:
        raise errors.UsageError(
            "a certificate and its key belong together", advice="Give both --tls-cert and --tls-key"
        )
    return Tls(certificate, key)


def _proxies(root_path: str, trusted: tuple[str, ...]) -> Proxies:
    """Return the proxies that options describe.

    Raises:
        UsageError: an option has an invalid value.
    """
    import ipaddress

    from keruta_agent.http.proxies import Proxies, prefix_of

    try:
        networks = tuple(ipaddress.ip_network(each) for each in trusted)
        return Proxies(root_path=prefix_of(root_path), trusted=networks)
    except ValueError as exc:
        raise errors.UsageError(
            f"what is said of the reverse proxy is wrong: {exc}",
            advice="Give --root-path a path, and --trusted-proxy addresses or networks",
        ) from exc
