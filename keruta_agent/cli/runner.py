"""``keruta runner``: coding tasks that a language model solves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from keruta_agent.cli.options import Group, PathType, config_path, json_option, load, print_json
from keruta_agent.cli.runner_worker import worker

if TYPE_CHECKING:
    from pathlib import Path

    from keruta_agent.runner.config import RunnerConfig
    from keruta_agent.runner.reporting import Step


@click.group(cls=Group)
def runner() -> None:
    """Solve coding tasks with a language model, and serve and check what belongs to it."""


def _config(ctx: click.Context) -> RunnerConfig:
    """Return the runner's configuration; an old variable is an error that names the new one."""
    import os

    from keruta_agent.runner.config import RunnerConfig

    load(ctx)  # sets the log up, as for every command
    return RunnerConfig.from_file(config_path(ctx), os.environ)


@runner.command()
@click.option(
    "--context",
    "path",
    type=PathType(dir_okay=False, exists=True),
    help="File with the task, JSON or YAML.  [default: the variable TASK_CONTEXT]",
)
@click.option(
    "--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change a value of the task."
)
@json_option
@click.pass_context
def run(ctx: click.Context, path: Path | None, changes: tuple[str, ...], as_json: bool) -> int:
    """Run one coding task: workspace, model, tests, commit, push, evidence.

    Shows how it goes, and exits with 0 when the task is done, else with 1.

    \b
    Examples:
      keruta runner run --context task.yaml
      keruta runner run --context task.json --set branch_name=feature/x --set max_tokens=8000
    """
    import os

    from keruta_agent.core.coding import context_file
    from keruta_agent.runner import process

    config = _config(ctx)
    process.begin(config)
    seconds = config.default_timeout_seconds
    if path is not None:
        context = context_file.from_file(path, changes, timeout_s=seconds)
    else:
        context = context_file.from_environment(os.environ, changes, timeout_s=seconds)
    write = _to_stderr if as_json else process.print_line
    result = process.run(config, context, write=write, on_step=_report_progress)
    if as_json:
        print_json(result.to_dict())
    else:
        for line in process.summary(result):
            click.echo(line)
    return 0 if result.success else 1


def _to_stderr(line: str) -> None:
    click.echo(line, err=True)


def _report_progress(step: Step) -> None:
    """Report the task's progress to the agent, when it is one of its runs."""
    import json
    import os

    from keruta_agent.cli import small

    if "KERUTA_RUN_TOKEN" not in os.environ:
        return
    # What nobody hears is no reason to fail: the end of the process says how it went.
    small.send(json.dumps({"kind": "progress", "percent": step.percent, "message": step.text}))


@runner.command()
@click.option("--host", metavar="HOST", help="Address of the HTTP API.")
@click.option("--port", metavar="PORT", help="Port of the HTTP API, 0 for a free one.")
@click.pass_context
def serve(ctx: click.Context, host: str | None, port: str | None) -> None:
    """Take coding tasks over HTTP, as from a Dispatcher, and solve them one at a time.

    This is the agent's daemon with its HTTP API on: POST /api/v1/coding-tasks queues a task as a
    job; GET /api/v1/jobs/JOB tells its state, /api/v1/events what happens, and
    POST /api/v1/jobs/JOB/cancel stops it. The token is in http-token in the base directory.

    \b
    Examples:
      keruta runner serve
      keruta runner serve --host 0.0.0.0 --port 9000
    """
    from keruta_agent.cli.daemon import run_here

    flags = {"daemon_host": host, "daemon_port": port, "keep_alive": True}
    run_here(ctx, flags, serves_http=True)


@runner.command()
@json_option
@click.pass_context
def check(ctx: click.Context, as_json: bool) -> int:
    """Check services, keys and model, one line each; exit with 1 when something is missing.

    The model is asked for one tiny answer. What was not tried is marked with a dash.

    \b
    Examples:
      keruta runner check
      keruta runner check --json
    """
    from keruta_agent.runner import readiness

    findings = readiness.look(_config(ctx))
    if as_json:
        print_json([finding._asdict() for finding in findings])
    else:
        for finding in findings:
            mark = "PROBLEM" if not finding.is_well else "ok" if finding.is_seen else "-"
            click.echo(f"{mark:7} {finding.name}: {finding.text}")
    return 0 if all(finding.is_well for finding in findings) else 1


@runner.command()
@click.argument("path", type=PathType(dir_okay=False, exists=True), required=False)
@click.option(
    "--env-file", type=PathType(dir_okay=False, exists=True), help="File with the old variables."
)
@click.option(
    "--code", type=PathType(file_okay=False, exists=True), help="Directory with code to look at."
)
@click.option(
    "--write",
    "rewrites",
    is_flag=True,
    help="Rewrite the imports in the code of --code; each file is kept as FILE.before-keruta.",
)
@click.option("--output", type=PathType(dir_okay=False), help="Write the new file here.")
@json_option
def migrate(
    path: Path | None,
    env_file: Path | None,
    code: Path | None,
    rewrites: bool,
    output: Path | None,
    as_json: bool,
) -> int:
    """Rewrite a configuration of the old runner, and list what has to change elsewhere.

    PATH is the old config file. The new one is printed, the list goes to standard error. Nothing
    is changed but the file of --output, which must not be there yet, and with --write the imports
    in the code. Exits with 1 when a person has to decide something.

    \b
    Examples:
      keruta runner migrate config.old.yaml > config.yaml
      keruta runner migrate config.old.yaml --env-file .env --code src/ --output config.yaml
      keruta runner migrate --code src/ --write
    """
    from keruta_agent.runner.migration import migration

    if path is None and (output is not None or (code is None and env_file is None)):
        raise click.UsageError("name the old config file, or --code or --env-file")
    if rewrites and code is None:
        raise click.UsageError("--write rewrites the code of --code: name that, too")
    found = migration.migrate(path, env_file=env_file, code=code, rewrites_code=rewrites)
    if output is not None:
        migration.write(output, found.text)
    if as_json:
        print_json({"config": found.text, "findings": [item._asdict() for item in found.findings]})
    else:
        if output is None:
            click.echo(found.text, nl=False)
        for item in found.findings:
            click.echo(f"{item.place}: {item.old}: {item.advice}", err=True)
    return 1 if any(item.needs_person for item in found.findings) else 0


runner.add_command(worker)
