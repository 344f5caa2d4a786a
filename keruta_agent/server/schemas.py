"""What only this server's requests and answers hold; the common parts are in ``web/fields.py``."""

from __future__ import annotations

from typing import Any

from marshmallow import fields, validate

from keruta_agent.core import wire

MAX_ID = 200


class Identifier(fields.String):
    """An id that a client chooses: it has to fit into paths."""

    def __init__(self, **kwargs: Any) -> None:
        rule = validate.Regexp(
            # Python's "$" alone would let a line end pass; "\Z" is unknown to OpenAPI.
            rf"^[A-Za-z0-9][A-Za-z0-9._-]{{0,{MAX_ID - 1}}}$(?!\n)",
            error="Must be letters, digits, '.', '_' and '-', and begin with a letter or digit.",
        )
        super().__init__(validate=rule, **kwargs)


class TaskAnswer(wire.TaskSchema):
    """A task; ``title`` is another name of ``name``."""

    title = wire.Text(attribute="name", dump_only=True)
    log_pruned_at = wire.AnyDate(
        data_key="logPrunedAt",
        dump_only=True,
        allow_none=True,
        metadata={"description": "When lines of its log were removed, by age or number."},
    )
    artifacts_pruned_at = wire.AnyDate(
        data_key="artifactsPrunedAt",
        dump_only=True,
        allow_none=True,
        metadata={"description": "When artifacts of it were removed, by age or number."},
    )


class SessionAnswer(wire.SessionSchema):
    """A session."""

    ended_at = wire.AnyDate(
        data_key="endedAt",
        dump_only=True,
        allow_none=True,
        metadata={"description": "When it took one of the states in which it has ended."},
    )
    pinned = fields.Boolean(
        dump_only=True, metadata={"description": "Whether nothing of it is ever pruned."}
    )
