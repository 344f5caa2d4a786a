"""What a soak came to, for people and for programs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from keruta_agent.cli.tables import print_table

if TYPE_CHECKING:
    from keruta_agent.soak.soak import Outcome

#: Violations of one promise that are printed; all of them are in the evidence.
MOST_SHOWN: Final = 10


def show(outcome: Outcome) -> None:
    """Print the table of promises, the numbers, and what was broken."""
    verdict = outcome.verdict
    counted = _counted(outcome)
    click.echo()
    print_table(
        ("PROMISE", "COUNTED", "VIOLATIONS"),
        [
            (promise, counted[promise.name], str(len(found)))
            for promise, found in verdict.violations.items()
        ],
    )
    ends = ", ".join(f"{number} {end}" for end, number in _grouped(verdict.ends).most_common())
    click.echo(
        f"\nkills -9 {outcome.kills}, of the server {outcome.server_kills}, "
        f"replaced by SIGHUP {outcome.replaced}, second agents {outcome.rivals}, "
        f"takeovers {outcome.takeovers}, API outages {outcome.outages}, "
        f"{outcome.seconds:.0f} s, seed {outcome.seed}"
    )
    click.echo(f"ends: {ends}")
    for promise, found in verdict.violations.items():
        for text in found[:MOST_SHOWN]:
            click.secho(f"\n{promise}: {text}", fg="red")
        if len(found) > MOST_SHOWN:
            click.echo(f"... and {len(found) - MOST_SHOWN} more")
    if outcome.evidence is None:
        click.echo("Nothing is left: no process, no file.")
    else:
        click.echo(f"\nThe evidence is kept in {outcome.evidence}; all of it: violations.txt")


def as_json(outcome: Outcome) -> Mapping[str, Any]:
    """Return the outcome for programs."""
    verdict = outcome.verdict
    return {
        "seed": outcome.seed,
        "kills": outcome.kills,
        "server_kills": outcome.server_kills,
        "replaced": outcome.replaced,
        "second_agents": outcome.rivals,
        "takeovers": outcome.takeovers,
        "forged_records": verdict.forged,
        "clones_broken": outcome.clones_broken + verdict.broken,
        "clones_healed": verdict.healed,
        "leftovers": verdict.littered,
        "commits": verdict.commits,
        "outages": outcome.outages,
        "seconds": round(outcome.seconds, 1),
        "tasks": verdict.tasks,
        "runs": verdict.runs,
        "retries": verdict.retries,
        "parked": verdict.quarantined,
        "log_lines": verdict.log_lines,
        "log_bytes": verdict.log_bytes,
        "artifacts": verdict.artifacts,
        "left_behind": verdict.left_behind,
        "ends": dict(verdict.ends),
        "violations": {promise.value: found for promise, found in verdict.violations.items()},
        "evidence": None if outcome.evidence is None else str(outcome.evidence),
    }


def _grouped(ends: Counter[str]) -> Counter[str]:
    """Return the ends with all exit codes as one."""
    grouped: Counter[str] = Counter()
    for end, number in ends.items():
        grouped[re.sub(r"EXIT_\d+", "with an exit code", end)] += number
    return grouped


def _counted(outcome: Outcome) -> Mapping[str, str]:
    verdict = outcome.verdict
    quarantined = (
        f", {verdict.quarantined} set aside after 3 kills each" if verdict.quarantined else ""
    )
    return {
        "TRUTH": (
            f"{verdict.tasks} tasks{quarantined}, {verdict.forged} exit records made up by scripts"
        ),
        "ONCE": (
            f"{verdict.runs} runs, {verdict.retries} of them retries by rule, "
            f"{outcome.rivals} second agents, {outcome.takeovers} takeovers"
        ),
        "PUSHED": (
            f"{verdict.commits} commits; {outcome.clones_broken + verdict.broken} times a clone "
            f"was broken, {verdict.healed} times healed, {verdict.littered} things left in the way"
        ),
        "BYTES": (
            f"{verdict.log_bytes:,} bytes in {verdict.log_lines:,} log lines, "
            f"{verdict.artifacts} artifacts"
        ),
        "GONE": f"{verdict.tasks} ends, {verdict.left_behind} processes left behind by scripts",
        "WHOLE": f"{verdict.databases} databases",
    }
