"""How ``keruta init`` learns what it needs: from options, from a person, and by trying it."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Final, NamedTuple

import click

from keruta_agent.cli import reload_hint
from keruta_agent.core import errors
from keruta_agent.core.settings import store, template
from keruta_agent.core.settings.edited import EditedFile
from keruta_agent.core.settings.given import is_secret, setting_of, value_to_write
from keruta_agent.core.settings.sources import KNOWN_KEYS, load_settings

#: Characters of a token that are read.
LONGEST_TOKEN: Final = 64 * 1024


class Answers(NamedTuple):
    """What was given on the command line."""

    api_url: str | None
    token_file: str | None
    session_id: str | None
    workspace_id: str | None


def set_up(path: Path, given: Answers, *, ask: bool, check: bool, force: bool) -> None:
    """Gather values, tries them, and write the file.

    Raises:
        SettingsError: there is a file already, or a value or the file cannot be used.
        UsageError: something is missing and nobody can be asked.
        ApiError: the API does not take the answers.
    """
    if path.exists() and not force:
        raise errors.SettingsError(
            f"There is a config file already: {path}",
            advice="Change it with `keruta config set`, or replace it with --force",
        )
    may_ask = ask and sys.stdin.isatty()
    values = _gathered(given, may_ask=may_ask)
    if check:
        _try_api(values, may_ask=may_ask)
    file = EditedFile(path, template.text(), KNOWN_KEYS)
    for key, value in values.items():
        file.set(key, value)
    private = any(is_secret(setting_of(key)[0], value) for key, value in values.items())
    base_dir = reload_hint.base_dir_in_force(path)
    store.change(path, lambda _: file.text, private=private)
    click.echo(f"Wrote {path}. Check all of it with: keruta doctor. Start with: keruta daemon")
    reload_hint.print_hint(base_dir)


def _gathered(given: Answers, *, may_ask: bool) -> dict[str, object]:
    url = given.api_url or os.environ.get("KERUTA_API_URL", "").strip()
    if not url and not may_ask:
        raise errors.UsageError(
            "it is not known where the keruta API is, and there is no terminal to ask at",
            advice="Give --api-url URL; `keruta server` starts one on this machine",
        )
    if is_secret(setting_of("api.url")[0], given.api_url or ""):
        raise errors.UsageError(
            "a password does not belong on the command line, where other users can see it",
            advice="Put the address into the variable KERUTA_API_URL",
        )
    answers: dict[str, object] = {}
    if given.api_url is None and may_ask:
        _ask(answers, "api.url", "Address of the keruta API", default=url or None)
    else:
        _take(answers, "api.url", url)
    if given.token_file is not None:
        _take(answers, "api.token", _token(given.token_file))
    elif may_ask:
        _ask(answers, "api.token", "Its token (not shown; empty: none)", default="", hide=True)
    if given.session_id is not None:
        _take(answers, "session.id", given.session_id)
    if given.workspace_id is not None:
        _take(answers, "workspace.id", given.workspace_id)
    if may_ask and given.session_id is None and given.workspace_id is None:
        _ask(answers, "session.id", "Session (empty: found by the workspace)", default="")
    return answers


def _take(answers: dict[str, object], key: str, text: str) -> None:
    answers[key] = value_to_write(setting_of(key)[0], text)


def _ask(
    answers: dict[str, object],
    key: str,
    question: str,
    *,
    default: str | None,
    hide: bool = False,
) -> None:
    """Ask until the answer can be used; an empty one, if it may be, sets nothing."""
    while True:
        text = click.prompt(
            question, default=default, hide_input=hide, show_default=bool(default), err=True
        )
        if not text.strip():
            return None
        try:
            return _take(answers, key, text)
        except errors.SettingsError as exc:
            click.echo(f"{exc}.", err=True)


def _token(file: str) -> str:
    if file == "-":
        return sys.stdin.read(LONGEST_TOKEN).strip()
    try:
        with Path(file).open(encoding="utf-8") as stream:
            return stream.read(LONGEST_TOKEN).strip()
    except (OSError, ValueError) as exc:
        reason = getattr(exc, "strerror", None) or "it is not UTF-8 text"
        raise errors.UsageError(f"cannot read the token file {file}: {reason}") from exc


def _try_api(values: dict[str, object], *, may_ask: bool) -> None:
    from keruta_agent.agent.checkup.api import check_api
    from keruta_agent.agent.checkup.finding import Level
    from keruta_agent.agent.daemon.wiring import make_client

    flags = {setting_of(key)[0].name: value for key, value in values.items()}
    # The new file alone, not the one that it replaces.
    settings = load_settings(flags, os.environ, config_path=Path(os.devnull)).settings
    wrong = []
    for finding in check_api(settings, make_client(settings), os.environ):
        if finding.subject in ("api", "token", "session"):
            click.echo(f"{finding.subject}: {finding.text}", err=True)
            wrong += [finding] if finding.level is Level.PROBLEM else []
    if not wrong:
        return
    if may_ask and click.confirm("Write the file all the same?", err=True):
        return
    raise errors.ApiError(
        "nothing was written",
        advice=f"{wrong[0].advice}. --no-check writes the file without trying".lstrip(". "),
    )
