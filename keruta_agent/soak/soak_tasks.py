"""The tasks of a soak, generated from a seed: what each does, and how it has to end.

Every script keeps a record of its own, in files that the agent does not know: each start with the
number of the run, each line that it wrote, each artifact, its end. What the server shows in the
end is held against that.
"""

from __future__ import annotations

import dataclasses
import random
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from keruta_agent.soak import clone_damage

#: An end as the API shows it: state and error code.
End = tuple[str, str]

COMPLETED: Final = ("COMPLETED", "")
#: Seconds that a script sleeps which is to be stopped.
FOR_EVER_S: Final = 3600
#: Bytes of one line of bulk output, about.
BULK_LINE: Final = 100
LOCK_NAME: Final = "lock"
#: How many of the tasks that succeed change a file of the repository, and how many of the runs
#: that fail break or litter the clone they work in.
CHANGES_SHARE: Final = 0.4
DAMAGE_SHARE: Final = 0.3

_HEAD: Final = """\
L={record}
R=$KERUTA_RUN_NUMBER
echo "start $R" >> "$L/events"
agent="${{KERUTA_RUN_DIR%/runs/*}}"
exec 9>> {lock}-"${{agent##*/}}"
flock -n 9 || echo "overlap $R" >> "$L/events"
say() {{ printf '%s\\n' "$1"; printf '%s\\n' "$1" >> "$L/stdout.$R"; }}
complain() {{ printf '%s\\n' "$1" >&2; printf '%s\\n' "$1" >> "$L/stderr.$R"; }}
tell() {{ keruta log INFO "$1" && echo "$1" >> "$L/agent.$R" || echo "unsent $R" >> "$L/events"; }}
progress() {{ keruta progress "$1" || echo "unsent $R" >> "$L/events"; }}
artifact() {{
    mkdir -p "$KERUTA_ARTIFACTS_DIR/{name}"
    seq 1 "$2" > "$KERUTA_ARTIFACTS_DIR/{name}/$1"
    set -- "$1" $(sha256sum < "$KERUTA_ARTIFACTS_DIR/{name}/$1")
    echo "$2 {name}/$1" >> "$L/artifacts.$R"
}}
change() {{
    printf '%s\n' "$1" > "$L/changed" && cp "$L/changed" "$KERUTA_WORKING_DIR/{name}.txt"
}}
finish() {{ echo "end $R" >> "$L/events"; exit "$1"; }}
"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class PlannedTask:
    """One task of a soak, and its expected result."""

    number: int
    name: str
    script: str
    parameters: Mapping[str, Any]
    priority: int
    end: End
    #: Runs that it takes to that end.
    runs: int = 1
    #: Message at the API, where the script itself says one.
    message: str | None = None
    #: Seconds after which a person cancels it.
    cancel_after_s: float | None = None
    #: Whether its script is stopped from outside, so that its record may lack the last lines.
    is_stopped: bool = False
    #: Processes that each run leaves behind.
    leaves: int = 0
    #: Exit records that each run makes up for itself.
    forges: int = 0
    #: Whether its last run changes a file of the repository.
    changes: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Ending:
    """How a script ends: its last lines, and what follows from them."""

    lines: Sequence[str] = ()
    end: End
    first_line: str = ""
    parameters: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    runs: int = 1
    message: str | None = None
    cancel_after_s: float | None = None
    is_stopped: bool = False
    #: Which runs fail, as a condition of the shell.
    failing: str = ""


def plan_task(seed: int, number: int, directory: Path) -> PlannedTask:
    """Return the task of this number: the same one for the same seed, whatever happened before."""
    chosen = random.Random(f"{seed}/task/{number}")
    name = f"task-{number:05d}"
    ending = _ending(chosen, number)
    record = directory / name
    steps, leaves = _steps(chosen, number, record)
    changes = ending.end == COMPLETED and chosen.random() < CHANGES_SHARE
    if changes:
        steps.append(f'change "{number} by run $R"')
    if ending.failing and chosen.random() < DAMAGE_SHARE:
        steps.append(f"if {ending.failing}; then {clone_damage.step(chosen)}; fi")
    head = ending.first_line + _HEAD.format(
        record=shlex.quote(str(record)),
        lock=shlex.quote(str(directory / LOCK_NAME)),
        name=name,
    )
    return PlannedTask(
        number=number,
        name=name,
        script=head + "\n".join([*steps, *ending.lines]) + "\n",
        parameters=ending.parameters,
        priority=chosen.choice((0, 0, 0, 1, 5)),
        end=ending.end,
        runs=ending.runs,
        message=ending.message,
        cancel_after_s=ending.cancel_after_s,
        is_stopped=ending.is_stopped,
        leaves=leaves,
        forges=steps.count(_FORGE),
        changes=changes,
    )


def _ending(chosen: random.Random, number: int) -> _Ending:
    endings: tuple[tuple[Callable[[random.Random, int], _Ending], int], ...] = (
        (_succeeds, 40),
        (_fails, 10),
        (_fails_at_first, 16),
        (_fails_always, 6),
        (_kills_itself, 3),
        (_says_success, 6),
        (_says_failure, 6),
        (_takes_too_long, 5),
        (_is_cancelled, 6),
        (_cannot_start, 2),
    )
    makers = [maker for maker, _ in endings]
    weights = [weight for _, weight in endings]
    return chosen.choices(makers, weights)[0](chosen, number)


def _succeeds(chosen: random.Random, number: int) -> _Ending:
    return _Ending(lines=["finish 0"], end=COMPLETED)


def _fails(chosen: random.Random, number: int) -> _Ending:
    code = chosen.randint(1, 99)
    return _Ending(lines=[f"finish {code}"], end=("FAILED", f"EXIT_{code}"), failing="true")


def _fails_at_first(chosen: random.Random, number: int) -> _Ending:
    fails = chosen.randint(1, 3)
    return _Ending(
        lines=[f"[ $R -gt {fails} ] || finish 75", "finish 0"],
        end=COMPLETED,
        parameters={"retry": {"count": fails + 1, "on": ["exit:75"]}},
        runs=fails + 1,
        failing=f"[ $R -le {fails} ]",
    )


def _fails_always(chosen: random.Random, number: int) -> _Ending:
    count = chosen.randint(1, 2)
    return _Ending(
        lines=["finish 4"],
        end=("FAILED", "EXIT_4"),
        parameters={"retry": count},
        runs=count + 1,
        failing="true",
    )


def _kills_itself(chosen: random.Random, number: int) -> _Ending:
    return _Ending(
        lines=['echo "end $R" >> "$L/events"', "kill -9 $$"],
        end=("FAILED", "SIGNAL_9"),
        failing="true",
    )


def _says_success(chosen: random.Random, number: int) -> _Ending:
    message = f"built {number} 完了"
    return _Ending(
        lines=[f"keruta success --message '{message}'", "finish 0"],
        end=COMPLETED,
        message=message,
    )


def _says_failure(chosen: random.Random, number: int) -> _Ending:
    message = f"no disk for {number}"
    return _Ending(
        lines=[f"keruta fail --message '{message}' --error-code NO_DISK", "finish 0"],
        end=("FAILED", "NO_DISK"),
        message=message,
    )


def _takes_too_long(chosen: random.Random, number: int) -> _Ending:
    count = chosen.randint(0, 1)
    stubborn = chosen.random() < 0.3
    return _Ending(
        lines=[*(["trap '' TERM"] if stubborn else []), f"sleep {FOR_EVER_S}", "finish 0"],
        end=("FAILED", "TIMED_OUT"),
        parameters={"timeout": "3s", "retry": count},
        runs=count + 1,
        is_stopped=True,
        failing="true",
    )


def _is_cancelled(chosen: random.Random, number: int) -> _Ending:
    stubborn = chosen.random() < 0.3
    return _Ending(
        lines=[*(["trap '' TERM"] if stubborn else []), f"sleep {FOR_EVER_S}", "finish 0"],
        end=("FAILED", "CANCELLED"),
        cancel_after_s=chosen.uniform(0.0, 4.0),
        is_stopped=True,
        failing="true",
    )


def _cannot_start(chosen: random.Random, number: int) -> _Ending:
    return _Ending(first_line="#!/no/such/interpreter\n", end=("FAILED", "NOT_STARTED"), runs=0)


#: What a script does, and how often, against each other.
_KINDS: Final = {
    "say": 30,
    "complain": 10,
    "nap": 26,
    "tell": 8,
    "progress": 8,
    "artifact": 12,
    "strange": 8,
    "leave": 8,
    "bulk": 3,
    "forge": 4,
}


def _steps(chosen: random.Random, number: int, record: Path) -> tuple[list[str], int]:
    """Return what a script does before its end, and how many processes it leaves behind."""
    steps: list[str] = []
    leaves = 0
    for step in range(chosen.randint(1, 6)):
        kind = chosen.choices(list(_KINDS), list(_KINDS.values()))[0]
        text = f"{number}.{step}"
        if kind in ("say", "complain"):
            last = chosen.randint(1, 30)
            steps.append(f'for n in $(seq {last}); do {kind} "line {text}.$R.$n 日本語"; done')
        elif kind == "nap":
            steps.append(f"sleep {chosen.choice((0.05, 0.2, 0.5, 1.0)) * chosen.random():.2f}")
        elif kind == "tell":
            steps.append(f'tell "told {text}.$R \\"quoted\\" 日本語"')
        elif kind == "progress":
            steps.append(f"progress {chosen.randint(0, 99)}")
        elif kind == "artifact":
            ending = chosen.choice(("txt", "csv", "成果 物"))
            steps.append(f'artifact "{step}-$R.{ending}" {chosen.randint(1, 20_000)}')
        elif kind == "forge":
            steps.append(_FORGE)
        elif kind == "strange":
            steps.append(chosen.choice(_STRANGE))
        elif kind == "leave":
            steps.append(chosen.choice(_LEFT_BEHIND).format(mark=shlex.quote(str(record))))
            leaves += 1
        else:
            lines = chosen.randint(100_000, 3_000_000) // BULK_LINE
            pad = "x" * (BULK_LINE - 30)
            steps.append(f'seq -f "bulk {text} %012.0f {pad}" {lines} | tee -a "$L/stdout.$R"')
    return steps, leaves


#: An end that the script makes up for itself, while it runs on. What counts is how it ends.
_FORGE: Final = (
    'printf \'{"exit_code": 0, "signal": null, "started_at": 1.0, "ended_at": 2.0}\' '
    '> "$KERUTA_RUN_DIR/exit"'
)

#: Output that is easily mangled: empty lines, carriage returns, bytes that are no UTF-8, very
#: long lines, and a piece of a line that is finished much later.
_STRANGE: Final = (
    'say ""; say ""',
    "say \"$(printf 'a\\rb\\tc')\"",
    "say \"$(printf 'no utf-8: \\377\\376')\"",
    "say \"$(printf '%030000d' 7)\"",
    'printf half; printf half >> "$L/stdout.$R"; sleep 0.3; say " and whole"',
)

#: Processes that a script leaves behind: in the background, in a session of their own, orphaned,
#: without the marker of the run, and deaf to SIGTERM.
_LEFT_BEHIND: Final = (
    "sleep 3600 &",
    "setsid sleep 3600 &",
    "( setsid sh -c 'sleep 3600; :' {mark} & )",
    "env -i setsid sh -c 'sleep 3600; :' {mark} &",
    "( trap '' TERM; setsid sh -c 'sleep 3600; :' {mark} & )",
)
