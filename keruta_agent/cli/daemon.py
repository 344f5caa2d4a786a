"""``keruta daemon``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from keruta_agent.cli.options import PathType, api_options, load

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path


@click.command()
@click.option("--session-id", metavar="ID", help="The session whose tasks are run.")
@click.option("--workspace-id", metavar="ID", help="The workspace, to find its session by.")
@click.option("--poll-interval", metavar="TIME", help="Between looks for new tasks: 10, 500ms.")
@click.option("--host", metavar="HOST", help="Address of the daemon's HTTP API.")
@click.option("--port", metavar="PORT", help="Port of the HTTP API, 0 for a free one; turns it on.")
@click.option("--pid-file", type=PathType(), help="Write the process id here.")
@click.option("--log-file", type=PathType(), help="Log here instead of stderr.")
@click.option("--log-format", type=click.Choice(["text", "json"]), help="How log lines look.")
@click.option("--task-timeout", metavar="TIME", help="How long a script may take: 90, 1h30m.")
@click.option("--stop-timeout", metavar="TIME", help="How long a stop waits for the running task.")
@click.option(
    "--artifacts-dir",
    type=PathType(file_okay=False),
    help="Directory in which scripts leave their artifacts.",
)
@click.option("--keep-alive", is_flag=True, default=None, help="Stay when the session has ended.")
@api_options
@click.pass_context
def daemon(
    ctx: click.Context,
    session_id: str | None,
    workspace_id: str | None,
    poll_interval: str | None,
    host: str | None,
    port: str | None,
    pid_file: Path | None,
    log_file: Path | None,
    log_format: str | None,
    task_timeout: str | None,
    stop_timeout: str | None,
    artifacts_dir: Path | None,
    keep_alive: bool | None,
    api_url: str | None,
    log_level: str | None,
) -> None:
    """Take the session's tasks and run them, one at a time, until the session has ended.

    A first Ctrl-C (or SIGTERM) finishes the running task and takes no more, a second one stops
    the task, a third one leaves at once. A script that is left running, by that or by kill -9,
    goes on, and the next daemon follows it to its end. SIGHUP replaces the daemon by a new one,
    after an upgrade or a change of the config file, without touching the running script.

    \b
    Examples:
      keruta daemon --session-id 29229ea1-8c41-4ca2-b064-7a7a7672dd1a
      keruta daemon --poll-interval 10 --log-file ~/.keruta/daemon.log
      nohup keruta daemon > /dev/null 2>&1 &
    """
    flags = {
        "session_id": session_id,
        "workspace_id": workspace_id,
        "poll_interval_s": poll_interval,
        "daemon_host": host,
        "daemon_port": port,
        "pid_file": pid_file,
        "log_file": log_file,
        "log_format": log_format,
        "task_timeout_s": task_timeout,
        "stop_timeout_s": stop_timeout,
        "artifacts_dir": artifacts_dir,
        "keep_alive": keep_alive,
        "api_url": api_url,
        "log_level": log_level,
    }
    run_here(ctx, flags)


def run_here(
    ctx: click.Context, flags: Mapping[str, object | None], *, serves_http: bool = False
) -> None:
    """Make this process the daemon; the HTTP API is on with ``serves_http`` or by the settings."""
    from keruta_agent.core.log import keys

    keys.put_away()  # scripts run as the same user, and may look into this process
    loaded = load(ctx, **flags)
    settings = loaded.settings
    from keruta_agent.agent.daemon.supervisor import run_daemon
    from keruta_agent.agent.daemon.wiring import own_redactor
    from keruta_agent.core.log import logs
    from keruta_agent.core.log.log_file import Rotation

    logs.set_up(
        level=settings.log_level,
        format=settings.log_format,
        file=settings.log_file,
        rotation=Rotation(
            max_bytes=settings.log_max_size,
            max_age_s=settings.log_max_age_s,
            backups=settings.log_backups,
        ),
        redactor=own_redactor(settings),
    )
    run_daemon(
        settings,
        lambda: load(ctx, **flags).settings,
        serves_http=serves_http or settings.http_input or loaded.is_given("daemon_port"),
    )
