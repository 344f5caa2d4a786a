"""``keruta redact``: what must not be shown."""

from __future__ import annotations

import os
import sys
from typing import TextIO

import click

from keruta_agent.cli import small
from keruta_agent.cli.options import Group
from keruta_agent.core import errors


@click.group(cls=Group)
def redact() -> None:
    """Mask secrets in what leaves this machine."""


@redact.command()
@click.argument("secret", required=False)
def add(secret: str | None) -> int:
    """Mask a secret in every log, message and report of this run, also in what is yet unsent.

    Without SECRET it is read from standard input, where other users cannot see it.

    \b
    Examples:
      vault read -field=password db | keruta redact add
    """
    import json

    from keruta_agent.agent.run.messages import MASK

    if "KERUTA_RUN_TOKEN" not in os.environ:
        raise errors.UsageError(
            "there is no run whose output could be masked",
            advice="Call it in a script that keruta runs",
        )
    value = sys.stdin.read().strip("\n") if secret is None else secret
    if not value.strip():
        raise errors.UsageError("the secret is empty")
    code = small.send(json.dumps({"kind": MASK, "value": value}), keep=False)
    if code is None:
        from pathlib import Path

        from keruta_agent.agent.run.directory import RunDirectory

        RunDirectory(Path(os.environ["KERUTA_RUN_DIR"])).add_secret(value)
        return 0
    return code


@redact.command()
@click.argument("file", type=click.File("r", errors="replace"), default="-")
def check(file: TextIO) -> None:
    """Print a text (a file, or standard input) as it would leave, with its secrets masked.

    \b
    Examples:
      keruta redact check build.log
      env | keruta redact check
    """
    from keruta_agent.core.redaction.redactor import Redactor

    redactor = Redactor.from_environment(os.environ)
    click.echo(redactor.redact(file.read()), nl=False)
