"""``keruta server``: the embedded keruta API."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

import click

from keruta_agent.cli.options import PathType, load
from keruta_agent.cli.server_runner import (
    refuse_idle_options,
    runner_service_options,
    runner_services,
)
from keruta_agent.core import errors

if TYPE_CHECKING:
    from pathlib import Path

    from keruta_agent.http.proxies import Proxies


@click.command()
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
    help="Address or network of a proxy whose X-Forwarded-Prefix and -Proto are believed, beside"
    " those on this machine.",
)
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
    root_path: str | None,
    trusted_proxies: tuple[str, ...],
    **services: Any,
) -> None:
    """Serve the keruta API from this machine, for one person's sessions.

    Prints where it listens when it is ready. A token is better given by the variable
    KERUTA_SERVER_TOKEN than on the command line, which other users can see.

    With --runner-services the services around the Agent Runner are served as well: Task Registry,
    Repo Pool Manager and Artifact Store, each on a port of its own. GIT_TOKEN lets the pool clone
    what is not public.

    \b
    Examples:
      keruta server
      keruta server --runner-services --pool-size 10
      KERUTA_SERVER_TOKEN=... keruta server --port 9000 --data /var/lib/keruta
    """
    from keruta_agent.core.log import keys
    from keruta_agent.core.process_tree.program import take_charge
    from keruta_agent.core.signals import StopRequests
    from keruta_agent.server.serve import Server

    keys.put_away()  # tests of a coding task may run as the same user, and look into this process
    take_charge()

    if not host.strip():
        raise errors.UsageError("the host is empty", advice="Give an address, such as 127.0.0.1")
    refuse_idle_options(ctx, services)
    proxies = _proxies(root_path or "", trusted_proxies)
    data_dir = data or load(ctx).settings.base_dir / "server"
    lines = []
    with contextlib.ExitStack() as running:
        # Before signals are heard: it may wait for a database, and Ctrl-C has to end that.
        if not services["runner_services_only"]:
            api = Server(
                data_dir,
                host=host,
                port=port,
                token=token,
                database_url=database_url,
                proxies=proxies,
            )
            api.start()
            running.callback(api.stop)
            lines.append(f"listening on {api.url}")
        with StopRequests().heard() as requests:
            if services["runner_services"] or services["runner_services_only"]:
                around = runner_services(ctx, data_dir, host, token, services)
                around.start()
                running.callback(around.stop)
                lines += [f"{name} on {url}" for name, url in around.urls.items()]
            click.echo("\n".join(lines))
            requests.wait()


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
