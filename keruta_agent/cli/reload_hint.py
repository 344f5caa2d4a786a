"""Say after a change of the settings how a running daemon takes it over."""

from __future__ import annotations

from pathlib import Path

import click

from keruta_agent.agent.control.commands import Status
from keruta_agent.agent.control.socket import client
from keruta_agent.core import errors
from keruta_agent.core.settings.sources import load_settings


def base_dir_in_force(config_path: Path | None) -> Path | None:
    """Return the base directory before the change; None when the settings cannot be read."""
    if config_path is not None and not config_path.exists():  # it is about to be made
        config_path = None
    try:
        return load_settings({}, config_path=config_path).settings.base_dir
    except errors.SettingsError:
        return None


def print_hint(base_dir: Path | None) -> None:
    """Print which daemon still has the old settings, and what makes it load the new ones."""
    if base_dir is None:
        return
    try:
        daemon = client.ask(base_dir, Status(), timeout_s=client.STATUS_TIMEOUT_S)
    except errors.KerutaError:
        return
    if "started_at" in daemon:  # not a job in the foreground, which a hangup would end
        click.echo(
            f"keruta: the daemon that runs goes on with the old settings until: "
            f"kill -HUP {daemon['pid']}",
            err=True,
        )
