"""What a job wrote, page by page: JSON lines, or plain text for those who accept that alone.

Every line has a position, ``run.piece.line``. Who asks for what comes after the last position that
it got reads a log to its end, also one that still grows, without a gap or a repetition.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator
from typing import Any, Final

from marshmallow import ValidationError, fields, validate
from starlette.responses import Response

from keruta_agent.agent.control.http.routes import Resource
from keruta_agent.agent.control.http.services import Services
from keruta_agent.agent.delivery.loglines import LogReader
from keruta_agent.agent.store.run import STREAMS, Run
from keruta_agent.core.model import LogEntry
from keruta_agent.core.wire import format_date
from keruta_agent.http.bodies import to_json
from keruta_agent.http.fields import RequestSchema
from keruta_agent.http.request import Request

resource = Resource("logs", "What jobs wrote")

MOST_LINES: Final = 10_000
#: Characters after which an answer ends although more lines were asked for: it is held in memory.
MOST_CHARACTERS: Final = 1024 * 1024
JSON_LINES: Final = "application/x-ndjson"
PLAIN_TEXT: Final = "text/plain"
#: Names the position of the last line of an answer.
POSITION_HEADER: Final = "Keruta-Position"
_RANGES_A_READ: Final = 20

_POSITION: Final = re.compile(r"([0-9]{1,15})\.([0-9]{1,15})\.([0-9]{1,15})", re.ASCII)

Place = tuple[int, int, int]


class PlaceField(fields.String):
    """A position in a log."""

    def _deserialize(self, value: Any, attr: str | None, data: Any, **kwargs: Any) -> Any:
        found = _POSITION.fullmatch(super()._deserialize(value, attr, data, **kwargs) or "")
        if found is None:
            raise ValidationError("Must be the position of a line.")
        return tuple(map(int, found.groups()))


class LogsQuery(RequestSchema):
    """Which lines."""

    after = PlaceField(metadata={"description": "Lines behind this position."})
    limit = fields.Integer(load_default=1000, validate=validate.Range(min=1, max=MOST_LINES))
    stream = fields.String(validate=validate.OneOf(STREAMS))
    run = fields.Integer(
        validate=validate.Range(min=1, max=2**31), metadata={"description": "Of this run only."}
    )
    colours = fields.Boolean(
        load_default=False, metadata={"description": "Whether colour sequences stay in the lines."}
    )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a job's log."""

    place: Place
    entry: LogEntry

    @property
    def position(self) -> str:
        """The position as text."""
        return ".".join(map(str, self.place))

    def to_json(self) -> str:
        """Return the line as one JSON object."""
        return to_json(
            {"position": self.position, "run": self.place[0], **entry_to_json(self.entry)}
        )


_TEXT: Final = {"type": "string"}
_DOCUMENTATION: Final = {
    "responses": {
        "200": {
            "description": "Lines, oldest first; none when there are no more by now.",
            "headers": {
                POSITION_HEADER: {
                    "description": "Position of the last line, to be given as `after`.",
                    "schema": _TEXT,
                }
            },
            "content": {JSON_LINES: {"schema": _TEXT}, PLAIN_TEXT: {"schema": _TEXT}},
        }
    }
}


@resource.route("GET", "/api/v1/jobs/{job}/logs", query=LogsQuery, doc=_DOCUMENTATION)
def get_logs(services: Services, query: dict[str, Any], job: str, *, request: Request) -> Response:
    """Return the next lines of a job's log, of all its runs: JSON lines, or plain text."""
    found = services.find_job(job)
    is_plain = request.accepted(JSON_LINES, PLAIN_TEXT) == PLAIN_TEXT
    texts: list[str] = []
    characters = 0
    position = None
    for line in _lines(services, found.id, query):
        texts.append(line.entry.message if is_plain else line.to_json())
        characters += len(texts[-1])
        position = line.position
        if len(texts) == query["limit"] or characters > MOST_CHARACTERS:
            break
    content_type = f"{PLAIN_TEXT}; charset=utf-8" if is_plain else JSON_LINES
    headers = {"Content-Type": content_type}
    if position is not None:
        headers[POSITION_HEADER] = position
    return Response("".join(f"{text}\n" for text in texts), headers=headers)


def entry_to_json(entry: LogEntry) -> dict[str, Any]:
    """Return a log entry as it is sent."""
    return {
        "level": entry.level.value,
        "message": entry.message,
        "source": entry.source,
        "timestamp": format_date(entry.timestamp),
        "metadata": dict(entry.metadata),
    }


def _lines(services: Services, job_id: int, query: dict[str, Any]) -> Iterator[Line]:
    after: Place = query.get("after", (0, 0, 0))
    reader = services.coloured_logs if query["colours"] else services.logs
    for run in services.agent.records.runs.of_job(job_id):
        if run.number < after[0] or query.get("run", run.number) != run.number:
            continue
        first = after[1] if run.number == after[0] else 0
        for line in _lines_of_run(services, reader, run, first, query.get("stream")):
            if line.place > after:
                yield line


def _lines_of_run(
    services: Services, reader: LogReader, run: Run, first: int, stream: str | None
) -> Iterator[Line]:
    while pieces := services.agent.records.runs.ranges(run.id, first=first, limit=_RANGES_A_READ):
        first = pieces[-1].sequence + 1
        for piece in pieces:
            if stream is not None and piece.stream != stream:
                continue
            try:
                entries = reader.read(run.id, [piece])
            except FileNotFoundError:  # removed just now to make room, and so is its list
                return
            for number, entry in enumerate(entries, 1):
                yield Line(place=(run.number, piece.sequence, number), entry=entry)
