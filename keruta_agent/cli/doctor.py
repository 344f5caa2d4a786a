"""``keruta doctor``: checks the installation, or proves the promises on this machine."""

from __future__ import annotations

import dataclasses
import os
import random
from typing import TYPE_CHECKING

import click

from keruta_agent.cli.options import json_option, load, print_json
from keruta_agent.core import errors

if TYPE_CHECKING:
    from keruta_agent.agent.checkup.finding import Finding

DEFAULT_KILLS = 30


@click.command()
@click.option("--soak", "is_soak", is_flag=True, help="Prove the promises by killing an agent.")
@click.option("--kills", type=click.IntRange(1, 100_000), help="How often: 30 unless given.")
@click.option("--seed", type=int, help="Repeat the tasks and kills of an earlier soak.")
@json_option
@click.pass_context
def doctor(
    ctx: click.Context, is_soak: bool, kills: int | None, seed: int | None, as_json: bool
) -> int:
    """Check this installation, one line each; exit with 1 when there is a problem.

    With --soak, proves instead that nothing gets lost here: an agent of its own, in a temporary
    directory, works off tasks while it is killed with kill -9 at random instants, its API is down,
    slow or broken, its clones are broken, and a second agent comes and goes. Then what each script
    wrote is compared with what the server has. Takes one to three seconds a kill. When a promise
    was broken, exits with 1 and keeps the evidence.

    \b
    Examples:
      keruta doctor
      keruta doctor --soak --kills 500
    """
    if is_soak:
        chosen = random.randrange(1_000_000) if seed is None else seed
        return _soak(kills or DEFAULT_KILLS, chosen, as_json=as_json)
    if kills is not None or seed is not None:
        raise errors.UsageError("--kills and --seed say how to soak: give --soak as well")
    return _check_up(ctx, as_json=as_json)


def _check_up(ctx: click.Context, *, as_json: bool) -> int:
    from keruta_agent.agent.checkup.checkup import check_everything
    from keruta_agent.agent.checkup.finding import Level

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
    from keruta_agent.agent.checkup.finding import Level

    colours = {Level.OK: "green", Level.WARNING: "yellow", Level.PROBLEM: "red"}
    level = click.style(f"{finding.level:<8}", fg=colours[finding.level])
    text = errors.with_advice(finding.text, finding.advice)
    click.echo(f"{level} {finding.subject:<20} {text}")


def _number(count: int, word: str) -> str:
    return f"{count or 'no'} {word}{'' if count == 1 else 's'}"


def _soak(kills: int, seed: int, *, as_json: bool) -> int:
    from keruta_agent.cli import soak_report
    from keruta_agent.soak.soak import soak

    click.echo(f"soak with seed {seed}: {kills} kills", err=as_json)
    try:
        outcome = soak(kills, seed, lambda line: click.echo(line, err=as_json))
    except errors.KerutaError as exc:
        for note in getattr(exc, "__notes__", ()):
            click.echo(note, err=True)
        raise
    if as_json:
        print_json(soak_report.as_json(outcome))
    else:
        soak_report.show(outcome)
    return 0 if outcome.verdict.is_clean else 1
