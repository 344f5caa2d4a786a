"""The verdict: what the server shows in the end, compared with what each script recorded."""

from __future__ import annotations

import collections
import contextlib
import dataclasses
import enum
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from keruta_agent.agent.journey import on_failure
from keruta_agent.agent.journey.quarantine import MOST_FAILURES
from keruta_agent.agent.run import screen
from keruta_agent.soak.api import DirectApi
from keruta_agent.soak.evidence import commits
from keruta_agent.soak.evidence.agent_records import AgentRecords, RecordedRun, open_records
from keruta_agent.soak.evidence.script_record import ScriptRecord
from keruta_agent.soak.load_generator import FiledTask
from keruta_agent.soak.world import World

PARKED: Final = ("FAILED", "PARKED")
OUTPUT: Final = ("stdout", "stderr")
#: How lines begin that tell of the agent's work on the repository.
WORKSPACE: Final = "workspace: "
#: Those about a clone that was broken.
HEALED: Final = ("workspace: repairs ", "workspace: moved the broken clone ")
#: Characters around a difference that a complaint shows.
CONTEXT: Final = 60


class Promise(enum.StrEnum):
    """What is proved."""

    TRUTH = "every task ends in one truthful state"
    ONCE = "no script is started twice"
    BYTES = "no byte is lost or doubled"
    PUSHED = "no commit is lost or doubled"
    GONE = "no process outlives its task"
    WHOLE = "the databases stay whole"


@dataclasses.dataclass(kw_only=True)
class Verdict:
    """What was counted, and what is wrong."""

    tasks: int = 0
    runs: int = 0
    retries: int = 0
    quarantined: int = 0
    log_lines: int = 0
    log_bytes: int = 0
    artifacts: int = 0
    left_behind: int = 0
    forged: int = 0
    commits: int = 0
    #: Clones that scripts broke, and things that they left in the way.
    broken: int = 0
    littered: int = 0
    #: Clones that were repaired or replaced.
    healed: int = 0
    databases: int = 0
    ends: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    violations: dict[Promise, list[str]] = dataclasses.field(
        default_factory=lambda: {promise: [] for promise in Promise}
    )

    @property
    def is_clean(self) -> bool:
        """Whether every promise was kept."""
        return not any(self.violations.values())


def judge(world: World, tasks: Sequence[FiledTask], session_id: str) -> Verdict:
    """Return the verdict on a soak that has come to rest, with its daemon ended."""
    return _Judge(world, tasks, session_id).judge()


class _Judge:
    def __init__(self, world: World, tasks: Sequence[FiledTask], session_id: str) -> None:
        self._world = world
        self._tasks = tasks
        self._session_id = session_id
        self._verdict = Verdict(tasks=len(tasks))
        self._pushed = world.repository.commits()

    def judge(self) -> Verdict:
        with (
            open_records(self._world.agents) as recorded,
            contextlib.closing(DirectApi(self._world.server_address)) as api,
        ):
            at_api = {task["id"]: task for task in api.tasks(self._session_id)}
            for task in self._tasks:
                self._judge_task(api, recorded, task, at_api.get(task.id))
            if len(at_api) != len(self._tasks):
                self._complain(
                    Promise.TRUTH,
                    f"{len(self._tasks)} tasks were filed, the API has {len(at_api)}",
                )
            for one in recorded:
                self._look_at_outbox(one)
        self._check_databases()
        return self._verdict

    def _complain(self, promise: Promise, text: str) -> None:
        self._verdict.violations[promise].append(text)

    def _judge_task(
        self,
        api: DirectApi,
        recorded: Sequence[AgentRecords],
        task: FiledTask,
        found: Mapping[str, Any] | None,
    ) -> None:
        if found is None:
            self._complain(Promise.TRUTH, f"{task.plan.name} is not at the API any more")
            return
        owned = [runs for one in recorded if (runs := one.runs_of(task.id))]
        if len(owned) > 1:
            self._complain(Promise.ONCE, f"{task.plan.name} was run by two agents")
        runs = [run for each in owned for run in each]
        killed = sum(one.failures_at(task.id) for one in recorded)
        is_quarantined = (found["status"], found["errorCode"]) == PARKED and killed >= MOST_FAILURES
        record = ScriptRecord(self._world.script_records / task.plan.name)
        self._verdict.quarantined += is_quarantined
        self._verdict.runs += len(record.starts)
        self._verdict.retries += max(0, len(record.starts) - 1)
        self._verdict.left_behind += task.plan.leaves * len(record.starts)
        self._verdict.forged += task.plan.forges * len(record.starts)
        self._verdict.broken += record.broke
        self._verdict.littered += record.left
        self._verdict.commits += len(self._pushed.get(task.id, ()))
        for text in commits.complaints(
            self._world.repository, self._pushed, task, record, is_quarantined=is_quarantined
        ):
            self._complain(Promise.PUSHED, text)
        self._check_end(task, record, runs, found, is_quarantined=is_quarantined)
        self._check_starts(task, record, is_quarantined=is_quarantined)
        self._check_output(task, record, runs, api.log(task.id), is_quarantined=is_quarantined)
        self._check_artifacts(task, record, api.artifacts(task.id), is_quarantined=is_quarantined)
        for process in task.survivors:
            self._complain(Promise.GONE, f"{task.plan.name}: process {process}")

    def _check_end(
        self,
        task: FiledTask,
        record: ScriptRecord,
        runs: Sequence[RecordedRun],
        found: Mapping[str, Any],
        *,
        is_quarantined: bool,
    ) -> None:
        plan = task.plan
        end = (found["status"], found["errorCode"])
        self._verdict.ends[" ".join(filter(None, end))] += 1
        if task.end is not None and end != task.end:
            self._complain(Promise.TRUTH, f"{plan.name} was {task.end} and is {end} now")
        if is_quarantined:
            # Earlier runs of a task that is retried may well have been started.
            if runs and runs[-1].number in record.starts and "prepare" in found["message"]:
                self._complain(Promise.TRUTH, f"{plan.name} is set aside although it was started")
            return
        if end != plan.end:
            self._complain(
                Promise.TRUTH,
                f"{plan.name} ({task.id}) is {end}, should be {plan.end}: {found['message']}",
            )
        # What became of the changes stands behind it.
        elif plan.message is not None and not found["message"].startswith(plan.message):
            self._complain(Promise.TRUTH, f"{plan.name} says {found['message']!r}")
        elif end[0] == "COMPLETED" and found["progress"] != 100:
            self._complain(Promise.TRUTH, f"{plan.name} is COMPLETED at {found['progress']} %")

    def _check_starts(self, task: FiledTask, record: ScriptRecord, *, is_quarantined: bool) -> None:
        name = task.plan.name
        for number, times in record.starts.items():
            if times > 1:
                self._complain(Promise.ONCE, f"{name}: run {number} was started {times} times")
        if len(record.starts) > task.plan.runs:
            self._complain(
                Promise.ONCE, f"{name}: {len(record.starts)} runs, its rule allows {task.plan.runs}"
            )
        elif not task.plan.is_stopped and not is_quarantined:
            wanted = set(range(1, task.plan.runs + 1))
            if set(record.starts) != wanted:
                self._complain(Promise.TRUTH, f"{name}: runs {sorted(record.starts)}, not {wanted}")
        for number in record.overlaps:
            self._complain(
                Promise.GONE, f"{name}: run {number} began while another script, or its rest, lived"
            )

    def _check_output(
        self,
        task: FiledTask,
        record: ScriptRecord,
        runs: Sequence[RecordedRun],
        log: Sequence[tuple[str, str]],
        *,
        is_quarantined: bool,
    ) -> None:
        name = task.plan.name
        may_lack = task.plan.is_stopped or is_quarantined
        self._verdict.log_lines += len(log)
        for stream in OUTPUT:
            written = [_read(run.directory / stream) for run in runs]
            self._verdict.log_bytes += sum(map(len, written))
            wanted = [line for content in written for line in _lines(content)]
            self._compare(f"{name} {stream}", wanted, _of(log, stream))
            for run, content in zip(runs, written, strict=True):
                noted = record.output(stream, run.number)
                same = content.startswith(noted) or noted.startswith(content)
                if content != noted and not (may_lack and same):
                    self._complain(
                        Promise.BYTES,
                        f"{name} {stream} of run {run.number}: {len(content)} bytes were captured, "
                        f"the script wrote {len(noted)}",
                    )
        self._check_logged(task, record, _of(log, "agent"), runs, may_lack=may_lack)

    def _check_logged(
        self,
        task: FiledTask,
        record: ScriptRecord,
        said: list[str],
        runs: Sequence[RecordedRun],
        *,
        may_lack: bool,
    ) -> None:
        name = task.plan.name
        self._verdict.healed += sum(line.startswith(HEALED) for line in said)
        said = [line for line in said if not line.startswith(WORKSPACE)]
        begins = [f"Run {run.number} of the task begins" for run in runs if run.number > 1]
        repeated = [line for line in said if line.startswith(on_failure.REPEATED)]
        if len(repeated) > 1 or (len(record.starts) > 1 and not repeated):
            self._complain(
                Promise.BYTES, f"{name}: that it is repeated is said {len(repeated)} times"
            )
        logged = [line for line in said if line not in begins and line not in repeated]
        self._compare(f"{name} announcements", begins, [line for line in said if line in begins])
        wanted = [line for run in runs for line in record.logged(run.number)]
        if may_lack and len(logged) <= len(wanted) + len(runs):
            # A script that is stopped may have sent a line and not come to record it.
            logged = [line for line in logged if line in wanted]
        self._compare(f"{name} keruta log", wanted, logged)
        for number in record.unsent if not may_lack else ():
            self._complain(Promise.BYTES, f"{name}: a small command of run {number} failed")

    def _compare(self, what: str, wanted: Sequence[str], found: Sequence[str]) -> None:
        if list(wanted) == list(found):
            return
        place = next(
            (
                number
                for number, (left, right) in enumerate(zip(wanted, found, strict=False))
                if left != right
            ),
            min(len(wanted), len(found)),
        )
        self._complain(
            Promise.BYTES,
            f"{what}: {len(wanted)} lines written, {len(found)} at the server; they differ from "
            f"line {place + 1} on: {_shown(wanted, place)} / {_shown(found, place)}",
        )

    def _check_artifacts(
        self,
        task: FiledTask,
        record: ScriptRecord,
        stored: Sequence[tuple[str, str]],
        *,
        is_quarantined: bool,
    ) -> None:
        # What a later run of the task leaves unchanged is not sent again.
        wanted = collections.Counter(set(record.artifacts))
        found = collections.Counter(stored)
        self._verdict.artifacts += len(stored)
        if task.plan.is_stopped or is_quarantined:
            # One may have been written and not noted when the script was stopped.
            noted = {path for path, _ in wanted}
            found = collections.Counter(each for each in stored if each[0] in noted)
        if is_quarantined:
            # Set aside before anything was collected.
            wanted &= found
        for path, _ in (wanted - found).elements():
            self._complain(Promise.BYTES, f"{task.plan.name}: artifact {path} is missing or wrong")
        for path, _ in (found - wanted).elements():
            self._complain(Promise.BYTES, f"{task.plan.name}: artifact {path} is doubled or wrong")

    def _look_at_outbox(self, agent: AgentRecords) -> None:
        counts = agent.records.outbox.counts()
        if counts.pending:
            self._complain(Promise.BYTES, f"{counts.pending} writes have not left the outbox")
        for entry in agent.records.outbox.dead_letters():
            self._complain(
                Promise.BYTES,
                f"a write was given up: {entry.kind} {entry.key}: {entry.last_error}",
            )

    def _check_databases(self) -> None:
        paths = [
            *(path for agent in self._world.agents for path in agent.base_dir.glob("*.db")),
            *(self._world.directory / "server").glob("*.db"),
        ]
        self._verdict.databases = len(paths)
        for path in paths:
            said = _integrity(path)
            if said != "ok":
                self._complain(Promise.WHOLE, f"{path.name}: {said}")
        if len(paths) < len(("agent.db", "queue.db", "the server's")):
            self._complain(Promise.WHOLE, f"only {len(paths)} databases are there")
        if problems := self._world.repository.problems():
            self._complain(Promise.WHOLE, f"the repository at the server: {problems}")


def _integrity(path: Path) -> str:
    try:
        with contextlib.closing(sqlite3.connect(path)) as connection:
            return str(connection.execute("PRAGMA integrity_check").fetchone()[0])
    except sqlite3.Error as exc:
        return str(exc)


def _of(log: Sequence[tuple[str, str]], source: str) -> list[str]:
    return [message for where, message in log if where == source]


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:  # it never came to its start
        return b""


def _lines(content: bytes) -> list[str]:
    text = content.decode("utf-8", errors="replace")
    return screen.render_lines(text.removesuffix("\n")) if text else []


def _shown(lines: Sequence[str], place: int) -> str:
    return repr(lines[place][:CONTEXT]) if place < len(lines) else "(nothing)"
