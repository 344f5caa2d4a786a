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
    data_dir = data or load(ctx).settings.base_dir / "server"
    lines = []
    with contextlib.ExitStack() as running:
        # Before signals are heard: it may wait for a database, and Ctrl-C has to end that.
        if not services["runner_services_only"]:
            api = Server(data_dir, host=host, port=port, token=token, database_url=database_url)
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
