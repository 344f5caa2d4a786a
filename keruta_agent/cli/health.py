"""``keruta health``: whether the agent can work here, for probes and for people."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import click

from keruta_agent.cli.options import json_option, load, print_json
from keruta_agent.core import errors

if TYPE_CHECKING:
    from keruta_agent.agent.checkup.finding import Finding


@click.command()
@click.option("--check-api", "api", is_flag=True, help="Does the keruta API answer?")
@click.option("--check-disk", "disk", is_flag=True, help="Is there room for output?")
@click.option("--check-memory", "memory", is_flag=True, help="Is there memory for a script?")
@click.option("--check-git", "git", is_flag=True, help="Is git there, and does it run?")
@click.option("--check-queue", "queue", is_flag=True, help="Does what waits get its turn?")
@json_option
@click.pass_context
def health(ctx: click.Context, /, as_json: bool, **asked: bool) -> int:
    """Check whether the agent can work here, one line each; exit with 1 when it cannot.

    Without an option all checks are made. What is asked for by name must be there: an API that
    is not configured fails --check-api and is only mentioned else. The limits are the settings
    below health; no daemon is needed.

    \b
    Examples:
      keruta health
      keruta health --check-api --check-disk
      keruta health --json
    """
    from keruta_agent.agent.checkup.finding import Level
    from keruta_agent.agent.checkup.health import check_health

    wanted = [name for name, is_wanted in asked.items() if is_wanted]
    findings = []
    for finding in check_health(lambda: load(ctx).settings, wanted):
        findings.append(finding)
        if not as_json:
            _show(finding)
    is_healthy = all(finding.level is not Level.PROBLEM for finding in findings)
    if as_json:
        checks = [dataclasses.asdict(finding) for finding in findings]
        print_json({"healthy": is_healthy, "checks": checks})
    return 0 if is_healthy else 1


def _show(finding: Finding) -> None:
    from keruta_agent.agent.checkup.finding import Level

    word, colour = {
        Level.OK: ("ok", "green"),
        Level.WARNING: ("warn", "yellow"),
        Level.PROBLEM: ("FAIL", "red"),
    }[finding.level]
    text = errors.with_advice(finding.text, finding.advice)
    click.echo(f"{click.style(f'{word:<4}', fg=colour)} {finding.subject:<8} {text}")
