"""``keruta start|progress|log|success|fail``: a script, or a person, reports on a task.

Inside a run the daemon gets the report, over its socket (``small.py`` does the plain forms without
all this). Outside of one it goes to the API, through the same outbox, so that an API that is away
loses nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from keruta_agent.cli import completion, own_run
from keruta_agent.cli.options import PathType, api_options, level_of, load, task_option
from keruta_agent.core import errors

if TYPE_CHECKING:
    from pathlib import Path

    from keruta_agent.core.model import TaskStatus


@click.command()
@task_option
@api_options
@click.pass_context
def start(
    ctx: click.Context, task_id: str | None, api_url: str | None, log_level: str | None
) -> None:
    """Report that the task is being worked on (PROCESSING).

    Under the daemon this is known already and costs nothing. A task that is running is left as
    it is.

    \b
    Examples:
      keruta start
      keruta start --task-id 29229ea1-8c41-4ca2-b064-7a7a7672dd1a --log-level DEBUG
    """
    if own_run.is_meant(task_id):
        return
    from keruta_agent.cli.direct import DirectReport
    from keruta_agent.core.model import StatusReport, TaskStatus

    settings = load(ctx, task_id=task_id, api_url=api_url, log_level=log_level).settings
    with DirectReport(settings) as report:
        if not report.is_running():
            report.status(StatusReport(status=TaskStatus.PROCESSING))


@click.command()
@click.argument("percentage")
@click.option("--message", default="", help="What is being done.")
@task_option
@api_options
@click.pass_context
def progress(
    ctx: click.Context,
    percentage: str,
    message: str,
    task_id: str | None,
    api_url: str | None,
    log_level: str | None,
) -> int:
    """Report how far the task is, in percent.

    \b
    Examples:
      keruta progress 50 --message "half of it"
    """
    text = percentage.removesuffix("%")
    if not (text.isascii() and text.isdigit() and int(text) <= 100):
        raise errors.UsageError(
            f"{percentage} is no percentage", advice="Give a whole number from 0 to 100"
        )
    if own_run.is_meant(task_id):
        return own_run.send({"kind": "progress", "percent": int(text), "message": message})
    from keruta_agent.cli.direct import DirectReport

    settings = load(ctx, task_id=task_id, api_url=api_url, log_level=log_level).settings
    with DirectReport(settings) as report:
        report.progress(int(text), message)
    return 0


@click.command()
@click.argument("level", shell_complete=completion.levels)
@click.argument("message")
@click.option("--field", "fields", multiple=True, metavar="KEY=VALUE", help="Add a named value.")
@task_option
@api_options
@click.pass_context
def log(
    ctx: click.Context,
    level: str,
    message: str,
    fields: tuple[str, ...],
    task_id: str | None,
    api_url: str | None,
    log_level: str | None,
) -> int:
    """Add a line to the task's log.

    \b
    Examples:
      keruta log INFO "query is running"
      keruta log ERROR "no answer" --field host=db1 --field tries=3
    """
    known = level_of(level)
    values = dict(_field(text) for text in fields)
    if own_run.is_meant(task_id):
        return own_run.send({"kind": "log", "level": known, "message": message, "fields": values})
    from keruta_agent.cli.direct import DirectReport

    settings = load(ctx, task_id=task_id, api_url=api_url, log_level=log_level).settings
    with DirectReport(settings) as report:
        report.log(known, message, values)
    return 0


@click.command()
@click.option("--message", default="", help="What was achieved.")
@click.option(
    "--artifacts-dir",
    type=PathType(file_okay=False, exists=True),
    help="Store the files in this directory with the task.",
)
@task_option
@api_options
@click.pass_context
def success(
    ctx: click.Context,
    message: str,
    artifacts_dir: Path | None,
    task_id: str | None,
    api_url: str | None,
    log_level: str | None,
) -> int:
    """Report that the task succeeded (COMPLETED).

    Inside a run the report goes to the API when the script has ended, after its log and artifacts.
    A script that then exits with another code than 0 has failed all the same.

    \b
    Examples:
      keruta success --message "all built"
      keruta success --artifacts-dir ./build/reports
    """
    from keruta_agent.core.model import StatusReport, TaskStatus

    directory = None if artifacts_dir is None else str(artifacts_dir.absolute())
    if own_run.is_meant(task_id):
        return own_run.send(_end(TaskStatus.COMPLETED, message=message, artifacts_dir=directory))
    from keruta_agent.cli.direct import DirectReport

    settings = load(ctx, task_id=task_id, api_url=api_url, log_level=log_level).settings
    with DirectReport(settings) as report:
        if artifacts_dir is not None:
            report.artifacts(artifacts_dir)
        report.status(StatusReport(status=TaskStatus.COMPLETED, message=message, progress=100))
    return 0


@click.command()
@click.option("--message", default="", help="What went wrong.")
@click.option("--error-code", default="", help="The same for programs, such as DB_DOWN.")
@click.option(
    "--auto-fix/--no-auto-fix",
    default=None,
    help="File a task that tries to fix it, or none.  [default: as the settings say]",
)
@task_option
@api_options
@click.pass_context
def fail(
    ctx: click.Context,
    message: str,
    error_code: str,
    auto_fix: bool | None,
    task_id: str | None,
    api_url: str | None,
    log_level: str | None,
) -> int:
    """Report that the task failed (FAILED). It stands, even if the script then exits with 0.

    \b
    Examples:
      keruta fail --message "no disk" --error-code DISK --no-auto-fix
      trap 'keruta fail --message "line $LINENO" --error-code BROKEN' ERR
    """
    from keruta_agent.core.model import StatusReport, TaskStatus

    if own_run.is_meant(task_id):
        return own_run.send(
            _end(TaskStatus.FAILED, message=message, error_code=error_code, auto_fix=auto_fix)
        )
    from keruta_agent.cli.direct import DirectReport

    settings = load(ctx, task_id=task_id, api_url=api_url, log_level=log_level).settings
    with DirectReport(settings) as report:
        report.status(
            StatusReport(status=TaskStatus.FAILED, message=message, error_code=error_code)
        )
        if auto_fix:
            report.auto_fix(message, error_code)
    return 0


def _end(
    status: TaskStatus,
    *,
    message: str,
    error_code: str = "",
    auto_fix: bool | None = None,
    artifacts_dir: str | None = None,
) -> dict[str, Any]:
    return {
        "kind": "end",
        "status": status,
        "message": message,
        "error_code": error_code,
        "auto_fix": auto_fix,
        "artifacts_dir": artifacts_dir,
    }


def _field(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise errors.UsageError(f"{text} is no field", advice="Write --field NAME=VALUE")
    return name, value
