"""``keruta doctor``: checks the installation, or proves the promises on this machine."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from typing import Final

import click

from keruta_agent.checkup.checkup import check_everything
from keruta_agent.checkup.finding import Finding, Level
from keruta_agent.cli.options import json_option, load, print_json

_COLOURS: Final[Mapping[Level, str]] = {
    Level.OK: "green",
    Level.WARNING: "yellow",
    Level.PROBLEM: "red",
}


@click.command()
@json_option
@click.pass_context
def doctor(ctx: click.Context, as_json: bool) -> int:
    """Checks this installation, one line each; exits with 1 when there is a problem.

    \b
    keruta doctor
    """
    return _check_up(ctx, as_json=as_json)


def _check_up(ctx: click.Context, *, as_json: bool) -> int:
    findings = []
    for finding in check_everything(lambda: load(ctx), os.environ):
        findings.append(finding)
        if not as_json:
            _show(finding)
    problems = sum(finding.level is Level.PROBLEM for finding in findings)
    warnings = sum(finding.level is Level.WARNING for finding in findings)
    if as_json:
        print_json(
            {
                "problems": problems,
                "warnings": warnings,
                "findings": [dataclasses.asdict(finding) for finding in findings],
            }
        )
    else:
        click.echo(f"\n{_number(problems, 'problem')}, {_number(warnings, 'warning')}.")
    return 1 if problems else 0


def _show(finding: Finding) -> None:
    level = click.style(f"{finding.level:<8}", fg=_COLOURS[finding.level])
    text = f"{finding.text}. {finding.advice}" if finding.advice else finding.text
    click.echo(f"{level} {finding.subject:<20} {text}")


def _number(count: int, word: str) -> str:
    return f"{count or 'no'} {word}{'' if count == 1 else 's'}"
