"""What became of one task so far, as the stored events tell it: states, progress, steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from keruta_agent.server.pages.charts import Chart, chart
from keruta_agent.server.store import tables as t
from keruta_agent.server.store.tables import Tables

#: Events of one task that are looked at, the newest: a script may tell its progress all day.
MOST_EVENTS: Final = 2000
#: Steps that are listed.
MOST_STEPS: Final = 100


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step:
    """Something that the task came to."""

    at: datetime
    status: str
    progress: int
    message: str


def steps_of(tables: Tables, row: Mapping[str, Any]) -> list[Step]:
    """Return what happened to a task, oldest first, one step for each thing that was said.

    Events are kept for a while only; of an old task there may be none.
    """
    events = tables.events
    # The ids are made by the server and hold nothing that LIKE takes for a wildcard.
    of_task = events.data.contains(f'"taskId":"{row["id"]}"')
    query = events.select().where(
        (events.session_id == row["session_id"])
        & events.name.in_(["task_created", "task_update"])
        & of_task
    )
    newest = list(query.order_by(events.number.desc()).limit(MOST_EVENTS).dicts())
    steps: list[Step] = []
    for event in reversed(newest):
        data = t.from_json(event["data"])
        step = Step(
            at=t.from_microseconds(event["created_at"]),
            status=str(data.get("status", "")),
            progress=int(data.get("progress", 0)),
            message=str(data.get("message", "")),
        )
        if not steps or dataclasses.replace(steps[-1], at=step.at) != step:
            steps.append(step)
    return steps


def progress_chart(steps: Sequence[Step], until: datetime) -> Chart | None:
    """Return how far the task was over time, from when it was first worked on."""
    begun = [step for step in steps if step.status != "PENDING"]
    samples = [(step.at, step.progress) for step in begun]
    samples += [(until, step.progress) for step in begun[-1:] if step.at < until]
    points = [((at - begun[0].at).total_seconds(), float(progress)) for at, progress in samples]
    return chart("progress", "%", points, top=100.0)
