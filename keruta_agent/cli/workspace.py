"""``keruta workspace``: the clone of the session's repository, for people."""

from __future__ import annotations

import dataclasses
import os
from typing import TYPE_CHECKING

import click

from keruta_agent.cli.options import Group, json_option, load, print_json
from keruta_agent.cli.tables import printable

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from keruta_agent.agent.workspace.moved import Moved
    from keruta_agent.core.settings.schema import Settings
    from keruta_agent.git.clone import Clone
    from keruta_agent.git.url import RepositoryUrl


@click.group(cls=Group)
def workspace() -> None:
    """Show and tidy the clone of the session's repository."""


@workspace.command("path")
@json_option
@click.pass_context
def show_path(ctx: click.Context, as_json: bool) -> None:
    """Print the directory of the clone.

    \b
    Examples:
      keruta workspace path
    """
    directory, url = _place(load(ctx).settings)
    if as_json:
        print_json({"path": str(directory), "repository": str(url), "exists": directory.is_dir()})
        return
    click.echo(directory)


@workspace.command()
@json_option
@click.pass_context
def status(ctx: click.Context, as_json: bool) -> None:
    """Show the branch of the clone, what is uncommitted, and what was set or moved aside.

    \b
    Examples:
      keruta workspace status
    """
    from keruta_agent.agent.workspace import moved
    from keruta_agent.agent.workspace.survey import survey
    from keruta_agent.core import errors

    settings = load(ctx).settings
    aside = moved.all_beside(_place(settings)[0])
    try:
        clone = _clone(settings)
        found = survey(clone)
    except errors.KerutaError:  # broken: what was moved before is worth knowing all the more
        _print_moved(aside, err=True)
        raise
    if as_json:
        about = {"path": str(clone.directory), "repository": str(clone.url), "ours": clone.is_ours}
        listed = [each.to_json() for each in aside]
        print_json({**about, **dataclasses.asdict(found), "moved": listed})
        return
    made = "by the agent" if clone.is_ours else "by somebody else: the agent removes nothing in it"
    lines = [
        ("directory", str(clone.directory)),
        ("repository", str(clone.url)),
        ("made", made),
        ("branch", found.branch or "none (a detached HEAD)"),
        ("commit", found.commit or "none yet"),
        ("uncommitted", str(found.uncommitted or "nothing")),
    ]
    if found.unfinished:
        lines.append(("unfinished", found.unfinished))
    lines += [("not pushed", name) for name in found.unpushed]
    lines += [("set aside", f"git stash apply {ref}") for ref in found.kept]
    lines += [("stale lock", name) for name in found.stale_locks]
    number = len(found.pushed)
    branches = f"{number} branches" if number != 1 else "1 branch"
    lines.append(("tasks", f"{branches}, whose commits the server has"))
    for name, value in lines:
        _print_line(name, value)
    _print_moved(aside)


def _print_moved(aside: Sequence[Moved], *, err: bool = False) -> None:
    for each in aside:
        held = f"; only it has {', '.join(each.held)}" if each.held else ""
        unknown = "" if each.is_compared else "; not compared with another clone yet"
        _print_line("moved aside", f"{each.directory}: {each.reason}{held}{unknown}", err=err)


def _print_line(name: str, value: str, *, err: bool = False) -> None:
    click.echo(f"{name:<13}{printable(value)}", err=err)


@workspace.command()
@click.option("--ignored", is_flag=True, help="Also remove the files that git ignores.")
@click.option("--remove", is_flag=True, help="Remove the whole clone; the next task makes another.")
@click.option("--force", is_flag=True, help="With --remove: even if something is lost with it.")
@json_option
@click.pass_context
def clean(ctx: click.Context, ignored: bool, remove: bool, force: bool, as_json: bool) -> None:
    """Set aside what is uncommitted, and remove the branches whose commits the server has.

    \b
    Examples:
      keruta workspace clean --ignored
      keruta workspace clean --remove
    """
    from keruta_agent.agent.workspace import survey
    from keruta_agent.git.repository.directory import locked

    settings = load(ctx).settings
    clone = _clone(settings)
    _refuse_while_running(settings)
    done: list[str] = []
    with locked(clone.directory, settings.git_timeout_s):
        if remove:
            survey.remove(clone, force=force)
            done.append(f"removed {clone.directory}")
        else:
            survey.tidy(clone, done.append, ignored=ignored)
    if as_json:
        print_json({"path": str(clone.directory), "done": done})
        return
    for line in done or ["nothing was to be done"]:
        click.echo(line)


def _refuse_while_running(settings: Settings) -> None:
    """Raise when a job runs, which may work in the clone."""
    from keruta_agent.cli.jobs import open_existing
    from keruta_agent.core import errors

    records = open_existing(settings)
    active = None if records is None else records.runs.active()
    if active is not None:
        raise errors.AgentStateError(
            f"job {active[0].id} is running, and may work there",
            advice=f"Wait for its end, or stop it with: keruta queue cancel {active[0].id}",
        )


def _clone(settings: Settings) -> Clone:
    """Return the clone.

    Raises:
        NotFound: there is none yet.
    """
    from keruta_agent.core import errors
    from keruta_agent.git import clone
    from keruta_agent.git.command import Git
    from keruta_agent.git.repository import directory as directories
    from keruta_agent.git.repository.directory import Found

    directory, url = _place(settings)
    if directories.look(directory) not in (Found.OURS, Found.FOREIGN):
        raise errors.NotFound(
            f"there is no clone of {url} in {directory} yet", advice="The first task makes it"
        )
    # A mere look must not take the lock that the script's own git needs.
    looking = {"GIT_OPTIONAL_LOCKS": "0"}
    git = Git(directory, timeout_s=settings.git_timeout_s, variables=looking)
    return clone.open_existing(git, url, is_mere_look=True)


def _place(settings: Settings) -> tuple[Path, RepositoryUrl]:
    """Return the directory of the clone and the repository's address.

    Raises:
        NotFound: no session with a repository is known here.
    """
    from keruta_agent.agent.control.socket import client
    from keruta_agent.agent.journey.workspace import directory_for
    from keruta_agent.core import errors
    from keruta_agent.git import url

    if settings.session_id is None:
        served = client.served_session(settings.base_dir)
        settings = dataclasses.replace(settings, session_id=served)
    address = _known_address(settings) or _asked_address(settings)
    if not address:
        raise errors.NotFound(
            "no session with a repository is known here",
            advice="Set KERUTA_SESSION_ID and KERUTA_API_URL, or run the daemon once",
        )
    repository = url.parse(address)
    return directory_for(settings, repository), repository


def _known_address(settings: Settings) -> str:
    """Return the address that the daemon learnt; empty when it is not known which one is meant."""
    from keruta_agent.cli.jobs import open_existing

    records = open_existing(settings)
    found = {} if records is None else records.repositories.all()
    if settings.session_id is not None:
        return next((pair[0] for name, pair in found.items() if name == settings.session_id), "")
    addresses = {pair[0] for pair in found.values() if pair[0]}
    return addresses.pop() if len(addresses) == 1 else ""


def _asked_address(settings: Settings) -> str:
    """Return the address that the API tells; empty when none is configured."""
    from keruta_agent.agent.daemon.wiring import make_client
    from keruta_agent.agent.journey.session import resolve
    from keruta_agent.git import url

    if settings.api_url is None:
        return ""
    session = resolve.find_session(make_client(settings), settings, os.environ)
    return url.without_secrets(session.repository_url) if session.repository_url else ""
