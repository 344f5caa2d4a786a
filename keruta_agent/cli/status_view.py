"""The views of ``keruta status``: lines, and a screen that is redrawn in place."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

import click

from keruta_agent.cli.tables import duration, fit, printable
from keruta_agent.cli.usage import size

if TYPE_CHECKING:
    from keruta_agent.cli.status_facts import Facts, JobFacts, RunningFacts

#: Columns of the label in front of each line, and of the bar.
LABEL: Final = 9
BAR: Final = 20

#: A label, the text beside it, and the colour of the label.
Line = tuple[str, str, str | None]


def lines_of(facts: Facts, advice: Sequence[str]) -> list[Line]:
    """Return the facts as lines."""
    found = [*_daemon(facts), *_running(facts), *_jobs(facts), *_outbox(facts)]
    found += [("next", text, "cyan") for text in advice]
    return [(label, printable(text.replace("\n", " ")), colour) for label, text, colour in found]


def written(lines: Sequence[Line], columns: int | None = None) -> str:
    """Return lines as text; with ``columns``, each cut to fit into them."""
    rows = []
    for label, text, colour in lines:
        shown = text if columns is None else fit(text, max(10, columns - LABEL - 1))
        rows.append(f"{_coloured(f'{label:<{LABEL}}', colour)}{shown}".rstrip())
    return "".join(f"{row}\n" for row in rows)


class Picture:
    """Lines on a terminal that are drawn over the ones before, without a blank moment."""

    def __init__(self) -> None:
        self._drawn = 0

    def draw(self, lines: Sequence[Line]) -> None:
        """Draw the lines, as many as the terminal has room for."""
        terminal = shutil.get_terminal_size()
        shown = lines[: max(1, terminal.lines - 1)]
        # Each line is written over the old one and only its rest is cleared: nothing flickers.
        rows = written(shown, terminal.columns).replace("\n", "\x1b[K\n")
        up = f"\x1b[{self._drawn}A" if self._drawn else ""
        # In colour or not, which `written` has decided: the movements must get through.
        click.echo(f"{up}{rows}\x1b[J", nl=False, color=True)
        self._drawn = len(shown)


def _daemon(facts: Facts) -> Iterator[Line]:
    yield _daemon_line(facts)
    if facts.daemon is not None and facts.daemon.http is not None:
        yield "", f"HTTP API at {facts.daemon.http}", None
    if facts.daemon is not None and facts.daemon.standby is not None:
        yield "standby", f"another agent serves the session: {facts.daemon.standby}", "yellow"
    if facts.daemon is not None and facts.daemon.disk_problem is not None:
        yield "disk", facts.daemon.disk_problem, "red"
    if facts.paused is not None:
        yield "", f"the queue is paused: {facts.paused}", None


def _daemon_line(facts: Facts) -> Line:
    daemon = facts.daemon
    if daemon is None:
        return "daemon", f"none runs for {facts.base_dir}", "red"
    parts = [f"process {daemon.pid}" if daemon.pid else "a process that does not say who it is"]
    if daemon.uptime_s is not None:
        parts.append(f"up for {duration(daemon.uptime_s)}")
    if not daemon.answers:
        return "daemon", ", ".join([*parts, "does not answer"]), "red"
    if daemon.version is None:
        parts.append("runs one job in the foreground")
    else:
        parts.append(f"keruta {daemon.version}")
        if daemon.session:
            parts.append(f"session {daemon.session}")
        elif facts.api_url is not None:
            parts.append("session not known yet")
    return "daemon", ", ".join(parts), "green"


def _running(facts: Facts) -> Iterator[Line]:
    run = facts.current
    if run is None:
        yield "running", "nothing", None
        return
    again = f" (run {run.run})" if run.run > 1 else ""
    left = "" if facts.daemon is not None else ", followed by nobody"
    yield "running", f"job {run.job}, {run.name}{again}, {duration(run.running_s)}{left}", "green"
    message = f" {run.progress_message}" if run.progress_message else ""
    yield "", f"{bar(run.progress)} {run.progress} %{message}", None
    if run.memory_bytes is not None:
        yield "", _usage(run), None
    if run.last_line is not None:
        yield "", f"last line: {run.last_line}", None
    if run.question is not None:
        yield "", f"waits for an answer: {run.question}", None


def bar(percent: int) -> str:
    """Return a bar of the progress."""
    done = BAR * max(0, min(percent, 100)) // 100
    return "[" + "#" * done + "." * (BAR - done) + "]"


def _usage(run: RunningFacts) -> str:
    number = run.processes or 0
    processes = f"{number} process{'' if number == 1 else 'es'}"
    return f"{size(run.memory_bytes or 0)}, {run.cpu_percent or 0:.0f} % of a core, {processes}"


def _jobs(facts: Facts) -> Iterator[Line]:
    more = facts.waiting - len(facts.next)
    for number, job in enumerate(facts.next):
        yield ("waiting" if number == 0 else ""), f"job {job.job}, {job.name}", None
    if more > 0:
        yield "", f"and {more} more", None
    if facts.unclaimed:
        which = "job waits" if facts.unclaimed == 1 else "jobs wait"
        yield "unclaimed", f"{facts.unclaimed} {which} until the API takes the claim", None
    if facts.scheduled > facts.unclaimed:
        due = "" if facts.due_s is None else f", the first in {duration(facts.due_s)}"
        yield "retries", f"{facts.scheduled - facts.unclaimed} to come{due}", None
    for number, job in enumerate(facts.ended):
        yield ("ended" if number == 0 else ""), _ended(job), None
    if facts.pruned:
        yield "pruned", f"{facts.pruned} jobs that ended earlier (see retention.*)", None


def _ended(job: JobFacts) -> str:
    when = "" if job.ended_s is None else f" {duration(job.ended_s)} ago"
    message = f": {job.message.partition(chr(10))[0]}" if job.message else ""
    return f"job {job.job}, {job.name}, {job.outcome}{when}{message}"


def _outbox(facts: Facts) -> Iterator[Line]:
    is_away = facts.daemon is not None and facts.daemon.api_away
    state = f"{facts.api_url} cannot be reached now" if is_away else facts.api_url
    yield "api", state or "none is configured", "red" if is_away else None
    if facts.daemon is not None and facts.daemon.api_problem is not None:
        yield "", facts.daemon.api_problem, "red"
    if facts.daemon is not None and facts.daemon.session_problem is not None:
        yield "session", facts.daemon.session_problem, "red"
    outbox = facts.outbox
    if outbox.pending:
        for_long = (
            "" if outbox.oldest_s is None else f", the oldest for {duration(outbox.oldest_s)}"
        )
        reason = f": {outbox.error}" if outbox.error else ""
        yield "outbox", f"{outbox.pending} unsent{for_long}{reason}", "yellow"
    if outbox.parked:
        yield "refused", f"{outbox.parked} that the API did not get", "yellow"
    if facts.api_url is not None and not outbox.pending and not outbox.parked:
        yield "outbox", "empty: the API knows all", None


def _coloured(text: str, colour: str | None) -> str:
    return text if os.environ.get("NO_COLOR") else click.style(text, fg=colour, bold=True)
