"""``keruta init``: the first config file, with what the agent needs to know in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from keruta_agent.cli.options import config_path

if TYPE_CHECKING:
    import pathlib


@click.command()
@click.option("--api-url", metavar="URL", help="The keruta API.")
@click.option("--token-file", metavar="FILE", help="Read its token here; -: standard input.")
@click.option("--session-id", metavar="ID", help="The session whose tasks are run.")
@click.option("--workspace-id", metavar="ID", help="The workspace, to find its session by.")
@click.option("-y", "--yes", is_flag=True, help="Ask nothing: what is not given stays unset.")
@click.option("--no-check", is_flag=True, help="Do not try the API before the file is written.")
@click.option("--force", is_flag=True, help="Replace the config file that is there.")
@click.pass_context
def init(
    ctx: click.Context,
    api_url: str | None,
    token_file: str | None,
    session_id: str | None,
    workspace_id: str | None,
    yes: bool,
    no_check: bool,
    force: bool,
) -> None:
    """Write a config file with every setting explained, after asking for what is needed.

    Asks for the API, its token and the session, tries them, and writes ~/.keruta/config.yaml (or
    the file of --config). Where nobody can be asked, in a pipe say, give them as options.

    \b
    Examples:
      keruta init
      keruta init --api-url http://keruta-api:8080 --session-id 29229ea1 --yes
      pass show keruta | keruta init --api-url http://keruta-api:8080 --token-file -
    """
    from keruta_agent.cli.init_questions import Answers, set_up

    set_up(
        _path(ctx),
        Answers(
            api_url=api_url,
            token_file=token_file,
            session_id=session_id,
            workspace_id=workspace_id,
        ),
        ask=not yes,
        check=not no_check,
        force=force,
    )


def _path(ctx: click.Context) -> pathlib.Path:
    import os

    from keruta_agent.core.settings.store import file_to_change

    return file_to_change(config_path(ctx), os.environ)
