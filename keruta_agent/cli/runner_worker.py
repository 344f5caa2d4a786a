"""``keruta runner worker``: does the coding tasks of a server's pool, on any number of machines."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
from typing import TYPE_CHECKING, Any, Final

import click

from keruta_agent.cli.options import PathType, load

if TYPE_CHECKING:
    from pathlib import Path

    from keruta_agent.server.coding.executor import Executor

#: Seconds for which a claim holds without a word of its worker.
LEASE_S: Final = 60
#: Seconds that a worker waits for what runs, once it is asked to stop.
DRAIN_S: Final = 3600


@click.command()
@click.option(
    "--database-url",
    envvar="KERUTA_SERVER_DATABASE_URL",
    help="The server's database, such as postgresql://...  [default: the one in --data]",
)
@click.option(
    "--data",
    type=PathType(file_okay=False),
    help="Data directory of a server on this machine.  [default: server/ in the base directory]",
)
@click.option(
    "--queue-url",
    envvar="KERUTA_POOL_QUEUE_URL",
    help="What carries the ids of tasks: sqlite:///FILE, postgresql://... or redis://...  "
    "[default: the database]",
)
@click.option(
    "--concurrency",
    type=click.IntRange(1, 100),
    default=1,
    show_default=True,
    help="Runners at a time.",
)
@click.option(
    "--lease",
    "lease_s",
    type=click.IntRange(5, 3600),
    default=LEASE_S,
    show_default=True,
    metavar="SECONDS",
    help="Silence of this worker after which others take over its tasks.",
)
@click.option(
    "--drain",
    "drain_s",
    type=click.IntRange(0, 7 * 24 * 3600),
    default=DRAIN_S,
    show_default=True,
    metavar="SECONDS",
    help="How long SIGTERM waits for runners before they are stopped.",
)
@click.option(
    "--executor",
    type=click.Choice(["local-process", "docker"]),
    default="local-process",
    show_default=True,
    help="What runners are: processes of this machine, or containers.",
)
@click.option("--image", metavar="IMAGE", help="Image of containers; it has keruta-agent and git.")
@click.option(
    "--container-program",
    default="docker",
    show_default=True,
    metavar="COMMAND",
    help="docker or podman, with options of its own.",
)
@click.option("--container-network", default="bridge", show_default=True, metavar="NETWORK")
@click.option("--container-memory", default="2g", show_default=True, metavar="SIZE")
@click.option(
    "--container-user",
    metavar="UID:GID",
    help="Who runners are.  [default: the worker's own user, and nobody where that is root]",
)
@click.option(
    "--container-volume",
    "volumes",
    multiple=True,
    metavar="SOURCE:TARGET[:ro]",
    help="One more directory of this machine; may be repeated.",
)
@click.option(
    "--container-option",
    "options",
    multiple=True,
    metavar="OPTION",
    help="One more option of `docker run`, such as --pids-limit=500; may be repeated.",
)
@click.option(
    "--container-python", default="python3", show_default=True, help="Python in the image."
)
@click.pass_context
def worker(
    ctx: click.Context,
    /,
    database_url: str | None,
    data: Path | None,
    queue_url: str | None,
    concurrency: int,
    lease_s: int,
    drain_s: int,
    executor: str,
    **containers: Any,
) -> None:
    """Do the coding tasks that wait at a keruta server, until SIGTERM.

    Start as many as you like, on any machine that reaches the database. A worker that dies loses
    nothing: its tasks are tried again once their leases have ended. SIGTERM takes no more tasks and
    waits for those that run; a second one stops them, and gives them back.

    \b
    Examples:
      keruta runner worker
      KERUTA_SERVER_DATABASE_URL=postgresql://... keruta runner worker --concurrency 4
      keruta runner worker --executor docker --image registry.example.org/runner:1
    """
    from keruta_agent.core.log import keys, logs
    from keruta_agent.core.process_tree.program import take_charge
    from keruta_agent.core.redaction.redactor import Redactor
    from keruta_agent.core.signals import StopRequests
    from keruta_agent.server.coding.queue import open_queue
    from keruta_agent.server.coding.worker import PoolWorker
    from keruta_agent.server.store.database import open_database

    keys.put_away()
    take_charge()
    settings = load(ctx).settings
    logs.set_up(
        level=settings.log_level,
        format=settings.log_format,
        redactor=Redactor.from_environment(os.environ),
    )
    data_dir = data or settings.base_dir / "server"
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with contextlib.closing(open_database(data_dir, database_url)) as database:
        queue = open_queue(database, data_dir, queue_url or database_url)
        pool_worker = PoolWorker(
            database,
            queue,
            _executor(executor, containers),
            concurrency=concurrency,
            lease_s=lease_s,
        )
        with StopRequests().heard() as requests:
            pool_worker.start()
            click.echo(f"worker {pool_worker.worker.id} takes coding tasks from {database.name}")
            pool_worker.work_until(lambda s: requests.wait(s) and bool(requests.count))
            click.echo("takes no more tasks, and waits for those that run")
            pool_worker.drain(drain_s, lambda s: requests.wait(s) and requests.count > 1)


def _executor(kind: str, given: dict[str, Any]) -> Executor:
    """Return what starts runners, by the options for it."""
    from keruta_agent.server.coding.executor import LocalProcesses

    if kind == "local-process":
        return LocalProcesses()
    from keruta_agent.server.coding.containers import NOBODY, Containers, ContainerSettings

    own = NOBODY if os.geteuid() == 0 else f"{os.geteuid()}:{os.getegid()}"
    user = given["container_user"] or own
    program = shlex.split(given["container_program"])
    if not given["image"]:
        raise click.UsageError("--executor docker needs --image")
    if not program:
        raise click.UsageError("--container-program names none")
    if not re.fullmatch(r"\d{1,9}:\d{1,9}", user):
        raise click.UsageError("--container-user must be two numbers, such as 1000:1000")
    return Containers(
        ContainerSettings(
            image=given["image"],
            program=program,
            network=given["container_network"],
            memory=given["container_memory"],
            user=user,
            volumes=given["volumes"],
            options=given["options"],
            python=given["container_python"],
        )
    )
