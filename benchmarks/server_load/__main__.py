"""Loads the embedded server as a team does: how late answers are, and what they cost.

python -m benchmarks.server_load SCENARIO [--keruta PATH]... [--repeats N] [--json] [sizes]

The scenarios:
    poll      agents that poll, with an event stream each
    write     agents whose tasks run: log lines, status, progress
    delivery  from a write to the event in its stream, with many streams
    cpu       what each hot route costs the server
    closed    requests a second over connections that never rest
    start     from the start of the program to its first answer; memory at rest
    lists     the newest lines of a million, and all tasks

Starts ``keruta server`` on a new directory for each run, and is itself one process. With more than
one ``--keruta``, such as those of two checkouts, they take turns.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import os
import resource
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path

from benchmarks.server_load import agents, figures, lists, requests_alone
from benchmarks.server_load.subject import Running, Subject, calibration, running_server

_OWN = Path(sys.executable).with_name("keruta")
#: More runs of what is short, or differs much.
_REPEATS = {"start": 10}

_Scenario = Callable[[Running], Awaitable[figures.Figures]]


def main() -> None:
    """Measure and print."""
    options = _parser().parse_args()
    programs = options.keruta or [_OWN]
    subjects = [Subject(chr(ord("A") + i), program) for i, program in enumerate(programs)]
    repeats = options.repeats or _REPEATS.get(options.scenario, 1)
    about = {
        "scenario": options.scenario,
        "sizes": {name: value for name, value in vars(options).items() if name in options.sizes},
        "runs": repeats,
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "load before": _load(),
    }
    runs: dict[str, list[figures.Figures]] = {subject.label: [] for subject in subjects}
    gc.disable()  # nothing here is a cycle worth a pause
    for number in range(repeats):
        # Whoever comes second finds another machine: they take turns in that too.
        for subject in subjects[:: -1 if number % 2 else 1]:
            runs[subject.label].append(_run(subject, options))
    results = [
        figures.Result(
            label=subject.label,
            program=str(subject.program),
            revision=subject.revision,
            runs=runs[subject.label],
        )
        for subject in subjects
    ]
    about["load after"] = _load()
    print(figures.as_json(results, about) if options.json else figures.as_table(results, about))


def _load() -> str:
    return " ".join(f"{load:.2f}" for load in os.getloadavg())


def _run(subject: Subject, options: argparse.Namespace) -> figures.Figures:
    with (
        tempfile.TemporaryDirectory(prefix="keruta-load-") as name,
        _server(subject, Path(name), options) as server,
        _many_files(),  # not before: the server would inherit what it has to care for itself
    ):
        return asyncio.run(_measured(_scenario(options), server))


@contextlib.contextmanager
def _many_files() -> Iterator[None]:
    """Let this process have as many connections as it may."""
    usual, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (usual, most))


@contextlib.contextmanager
def _server(subject: Subject, directory: Path, options: argparse.Namespace) -> Iterator[Running]:
    if options.scenario == "lists":
        opened = lists.filled_server(
            subject,
            directory,
            lists.Size(tasks=options.tasks, lines=options.lines),
            token=options.token,
            database_url=options.database_url,
        )
    else:
        opened = running_server(subject, directory, token=options.token)
    with opened as server:
        yield server


async def _measured(scenario: _Scenario, server: Running) -> figures.Figures:
    before, found, after = calibration(), await scenario(server), calibration()
    return found | {name: (before[name] + after[name]) / 2 for name in before}


def _scenario(options: argparse.Namespace) -> _Scenario:
    """Return the scenario that is asked for, in the size that is asked for."""
    match options.scenario:
        case "cpu":
            return lambda server: requests_alone.cpu(server, number=options.number)
        case "closed":
            return lambda server: requests_alone.closed(
                server, connections=options.connections, seconds=options.seconds
            )
        case "start":
            return lambda server: requests_alone.start(server, rest_s=options.rest)
        case "lists":
            size = lists.Size(tasks=options.tasks, lines=options.lines)
            return lambda server: lists.read_lists(server, size)
        case _:
            return _of_agents(options)


def _of_agents(options: argparse.Namespace) -> _Scenario:
    load = agents.Load(
        agents=options.agents,
        interval_s=options.interval,
        seconds=options.seconds,
        lines=getattr(options, "lines", 0),
        with_streams=not getattr(options, "no_streams", False),
    )
    act = {"poll": agents.poll, "write": agents.write, "delivery": agents.delivery}
    return lambda server: act[options.scenario](server, load)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.server_load",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    scenarios = parser.add_subparsers(dest="scenario", required=True)
    for name, sizes in _SIZES.items():
        scenario = scenarios.add_parser(name)
        scenario.add_argument(
            "--keruta", type=_absolute, action="append", metavar="PATH", help="default: this one's"
        )
        scenario.add_argument("--repeats", type=int, help="runs of each keruta")
        scenario.add_argument("--token", help="have the server ask for it, and send it")
        scenario.add_argument("--json", action="store_true", help="print every run, as JSON")
        for option, default in sizes.items():
            scenario.add_argument(f"--{option}", type=type(default), default=default)
        scenario.set_defaults(sizes=[option.replace("-", "_") for option in sizes])
    for name in ("poll", "write"):
        scenarios.choices[name].add_argument("--no-streams", action="store_true")
    scenarios.choices["lists"].add_argument(
        "--database-url", help="a PostgreSQL server instead of SQLite; makes and drops a database"
    )
    return parser


def _absolute(path: str) -> Path:
    return Path(path).absolute()  # it is started elsewhere


_SIZES: dict[str, dict[str, int | float]] = {
    "poll": {"agents": 1000, "interval": 5.0, "seconds": 20.0},
    "write": {"agents": 200, "interval": 5.0, "seconds": 20.0, "lines": 500},
    "delivery": {"agents": 1000, "interval": 0.04, "seconds": 20.0},
    "cpu": {"number": 1000},
    "closed": {"connections": 16, "seconds": 5.0},
    "start": {"rest": 1.0},
    "lists": {"tasks": 100_000, "lines": 1_000_000},
}


if __name__ == "__main__":
    main()
