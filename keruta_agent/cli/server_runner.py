"""The options of ``keruta server`` that are about the services around the Agent Runner."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar

import click
from click.core import ParameterSource

from keruta_agent.cli.options import load
from keruta_agent.core import errors

if TYPE_CHECKING:
    from pathlib import Path

    from keruta_agent.server.runner_services.serve import RunnerServices

F = TypeVar("F", bound=Callable[..., Any])

_PORT = click.IntRange(0, 65535)

_OPTIONS = (
    click.option("--runner-services", is_flag=True, help="Serve the Agent Runner's services too."),
    click.option("--runner-services-only", is_flag=True, help="Serve nothing but these."),
    click.option(
        "--registry-port", type=_PORT, default=8001, show_default=True, help="Of the Task Registry."
    ),
    click.option(
        "--pool-port",
        type=_PORT,
        default=8002,
        show_default=True,
        help="Of the Repo Pool Manager.",
    ),
    click.option(
        "--store-port", type=_PORT, default=8003, show_default=True, help="Of the Artifact Store."
    ),
    click.option(
        "--pool-size",
        type=click.IntRange(1, 1000),
        help="Slots that are lent of one repository.  [default: the setting pool_size, which is 5]",
    ),
    click.option(
        "--git-token-host",
        multiple=True,
        help="Host that the pool gives GIT_TOKEN to; may be repeated.  "
        "[default: the setting git.token_hosts]",
    ),
    click.option(
        "--keep-artifacts",
        multiple=True,
        metavar="TYPE=DAYS",
        help="How long artifacts of a type are kept.  [default: diff=30, log=7, test=14]",
    ),
    click.option(
        "--max-artifact-size",
        type=click.IntRange(1, 1_000_000),
        default=1024,
        show_default=True,
        metavar="MB",
        help="Largest artifact that is taken.",
    ),
)


def runner_service_options(command: F) -> F:
    """Add the options to a command."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return command


def refuse_idle_options(ctx: click.Context, values: Mapping[str, Any]) -> None:
    """Refuse options of services that are not served.

    Raises:
        UsageError: there is one.
    """
    if values["runner_services"] or values["runner_services_only"]:
        return
    for name in values:
        if ctx.get_parameter_source(name) is ParameterSource.COMMANDLINE:
            raise errors.UsageError(
                f"--{name.replace('_', '-')} is about the Agent Runner's services, and none is"
                " served",
                advice="Give --runner-services as well",
            )


def runner_services(
    ctx: click.Context,
    data_dir: Path,
    values: Mapping[str, Any],
    **common: Any,
) -> RunnerServices:
    """Return the services that the options and the settings ask for, not yet started.

    Args:
        ctx: of the command.
        data_dir: of the server.
        values: the options that are about these services.
        common: those of the whole server that hold for them, too.

    Raises:
        UsageError: an option has an invalid value.
        SettingsError: a setting has one.
    """
    from keruta_agent.git.access.credentials import GitAccess
    from keruta_agent.server.runner_services.serve import Options, RunnerServices

    settings = load(ctx).settings
    access = GitAccess(
        token=os.environ.get("GIT_TOKEN", "").strip(),
        username=settings.git_username,
        token_hosts=values["git_token_host"] or settings.git_token_hosts,
    )
    options = Options(
        **common,
        registry_port=values["registry_port"],
        pool_port=values["pool_port"],
        store_port=values["store_port"],
        pool_size=values["pool_size"] or settings.pool_size,
        git=access,
        retention_days=_retention(values["keep_artifacts"]),
        max_artifact_size=values["max_artifact_size"] * 1024 * 1024,
        tokens_dir=data_dir,
    )
    # What they keep is apart from the server's, in the store as in the directory.
    if options.artifacts is not None:
        options = dataclasses.replace(options, artifacts=options.artifacts.below("runner"))
    return RunnerServices(data_dir / "runner", options)


def _retention(given: tuple[str, ...]) -> dict[str, float]:
    from keruta_agent.server.runner_services.serve import RETENTION_DAYS

    kept = dict(RETENTION_DAYS)
    for pair in given:
        kind, _, days = pair.partition("=")
        if not kind or not days.isascii() or not days.isdigit() or not 0 < int(days) < 100_000:
            raise errors.UsageError(
                f"cannot read --keep-artifacts {pair!r}", advice="Write it like diff=30, in days"
            )
        kept[kind] = int(days)
    return kept
