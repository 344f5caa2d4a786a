"""``keruta status``: one look at the agent, once or again and again."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

import click

from keruta_agent.cli.options import json_option, load, print_json

if TYPE_CHECKING:
    from keruta_agent.cli.status_facts import Facts
    from keruta_agent.core.settings.schema import Settings

EXIT_NO_DAEMON: Final = 4
#: Seconds between looks by default.
WATCH_S: Final = 1.0


@click.command()
@click.option(
    "--watch",
    "interval_s",
    is_flag=False,
    flag_value=WATCH_S,
    type=click.FloatRange(0.1, 3600),
    metavar="[SECONDS]",
    help="Go on until Ctrl-C; looks each second by default.",
)
@json_option
@click.pass_context
def status(ctx: click.Context, interval_s: float | None, as_json: bool) -> int:
    """Show how the agent is: what runs, waits and ended, what has yet to reach the API.

    Exits with 0 when a daemon runs and with 4 when none does; then it shows what the last one
    left. With --watch it redraws itself on a terminal, prints what has changed elsewhere, and
    ends with 0 at Ctrl-C.

    \b
    Examples:
      keruta status
      keruta status --watch 5
      keruta status --json
    """
    settings = load(ctx).settings
    if interval_s is None:
        return _show_once(settings, as_json=as_json)
    try:
        _watch(settings, interval_s, as_json=as_json)
    except KeyboardInterrupt:
        return 0
    return 0


def _show_once(settings: Settings, *, as_json: bool) -> int:
    from keruta_agent.cli import status_facts, status_view

    facts = status_facts.look(settings)
    if as_json:
        print_json(status_facts.as_json(facts))
    else:
        lines = status_view.lines_of(facts, status_facts.advice(facts))
        click.echo(status_view.written(lines), nl=False)
    return EXIT_NO_DAEMON if facts.daemon is None else 0


def _watch(settings: Settings, interval_s: float, *, as_json: bool) -> None:
    from keruta_agent.cli import status_facts

    show = _shower(as_json=as_json)
    while True:
        show(status_facts.look(settings))
        time.sleep(interval_s)


def _shower(*, as_json: bool) -> Callable[[Facts], None]:
    """Return what shows the facts: a picture on a terminal, what has changed elsewhere."""
    import json

    from keruta_agent.cli import status_facts, status_view

    picture = status_view.Picture()
    before: list[object] = []

    def draw(facts: Facts) -> None:
        picture.draw(status_view.lines_of(facts, status_facts.advice(facts)))

    def print_change(facts: Facts) -> None:
        essence = status_facts.essence(facts)
        if before == [essence]:
            return
        if as_json:
            text = json.dumps(status_facts.as_json(facts), ensure_ascii=False)
        else:
            lines = status_view.lines_of(facts, status_facts.advice(facts))
            text = ("\n" if before else "") + status_view.written(lines).rstrip("\n")
        click.echo(text)
        before[:] = [essence]

    is_drawable = sys.stdout.isatty() and os.environ.get("TERM", "dumb") != "dumb"
    return draw if is_drawable and not as_json else print_change
