"""``keruta version``."""

from __future__ import annotations

import click

from keruta_agent import __version__
from keruta_agent.cli.options import json_option, print_json


@click.command()
@json_option
def version(as_json: bool) -> None:
    """Print the version of keruta and of its Python.

    \b
    Examples:
      keruta version
      keruta version --json
    """
    import platform

    if as_json:
        print_json({"version": __version__, "python": platform.python_version()})
        return
    click.echo(f"keruta-agent {__version__} (Python {platform.python_version()})")
